"""The events that a reply's readers receive, in order."""

from typing import Any, NamedTuple

from chat.models import Message, MessageStatus
from core.errors import ApiError


class ReplyInterrupted(ApiError):
    """The server went away while it wrote the reply."""

    status, code = 503, "reply_interrupted"
    message = "The server stopped in the middle of the reply; what was written is kept."


class ReplyFailed(ApiError):
    """The model failed in the middle of the reply."""

    message = "The model stopped in the middle of the reply; what was written is kept."

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code
        self.status = 504 if code == "model_timeout" else 503


class Start(NamedTuple):
    """The first event: which reply this is, and what the model saw."""

    reply_id: int
    message_id: int | None  # of the user's message
    thread_id: int
    model: str
    context: dict[str, int | None] | None

    @classmethod
    def of(cls, reply: Message) -> "Start":
        """Return the first event of a reply."""
        return cls(reply.pk, reply.parent_id, reply.thread_id, reply.model, reply.context)


class Queued(NamedTuple):
    """The reply waits for its turn; `position` is how many are before it."""

    position: int


class Thinking(NamedTuple):
    """More of what the model thinks; `offset` is the number of characters so far."""

    text: str
    offset: int


class Delta(NamedTuple):
    """More of the text; `offset` is the number of characters so far, these included."""

    text: str
    offset: int


class Rewind(NamedTuple):
    """What the reader has beyond `offset` is void: the text goes on from there."""

    offset: int


class KeepAlive(NamedTuple):
    """Nothing new for a while: the connection is to be kept open."""


class End(NamedTuple):
    """The reply is complete or was stopped."""

    status: str
    finish_reason: str | None
    usage: dict[str, int | None] | None


class Failure(NamedTuple):
    """The reply will not be completed; what was written of it is kept, if there is anything."""

    error: ApiError
    reply_kept: bool

    def body(self) -> dict[str, Any]:
        """Return the JSON object that a client reads."""
        return {**self.error.body(), "reply_kept": self.reply_kept}


Event = Start | Queued | Thinking | Delta | Rewind | KeepAlive | End | Failure


def last_event(reply: Message, error: ApiError | None = None) -> End | Failure:
    """Return the event with which a reply has ended; `error` says why it failed, if known."""
    if reply.status == MessageStatus.INTERRUPTED:
        error = ReplyInterrupted()
    elif reply.status == MessageStatus.FAILED and error is None:
        error = ReplyFailed(reply.error_code)
    if error is None or reply.status in (MessageStatus.COMPLETE, MessageStatus.STOPPED):
        return End(reply.status, reply.finish_reason or None, reply.usage)
    # A model that failed before its first word leaves the thread as it was.
    is_kept = bool(reply.content) or reply.in_background
    return Failure(error, reply.status != MessageStatus.FAILED or is_kept)


class Cursor:
    """How far one reader of a reply is: in its thinking, and in its text from `offset` on."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.has_started = False
        self._thinking_offset = 0
        self._position: int | None = None  # in the queue, as the reader knows it
        # Whether what the reader has is known to be the beginning of the text as it is now.
        self._is_aligned = False

    def start(self, reply: Message, thinking: str) -> Start | None:
        """Return the first event, once; the reader has the thinking if it has some of the text."""
        if self.has_started:
            return None
        self.has_started = True
        self._thinking_offset = len(thinking) if self.offset else 0
        return Start.of(reply)

    def queued(self, position: int | None) -> Queued | None:
        """Return that the reply waits, if its position is none that the reader knows."""
        if position == self._position:
            return None
        self._position = position
        return None if position is None else Queued(position)

    def doubt(self) -> None:
        """Forget that the reader's text is the reply's: another process may go on with it."""
        self._is_aligned = False

    def advance(
        self, text: str, thinking: str, rewind_offset: int | None = None
    ) -> Rewind | Thinking | Delta | None:
        """Return the next event for the reader, with all there is by now, or None.

        `rewind_offset` is how many characters no take-over has changed, None where there was none.
        Slow readers get larger pieces.
        """
        if not self._is_aligned:
            if rewind_offset is not None and self.offset > rewind_offset:
                self.offset, self._is_aligned = rewind_offset, True
                return Rewind(self.offset)
            self._is_aligned = len(text) >= self.offset
        if len(thinking) < self._thinking_offset:  # it was all there was, and starts over
            self._thinking_offset = 0
            return Rewind(self.offset)
        if len(thinking) > self._thinking_offset:
            piece = thinking[self._thinking_offset :]
            self._thinking_offset = len(thinking)
            return Thinking(piece, self._thinking_offset)
        if len(text) > self.offset:
            piece = text[self.offset :]
            self.offset = len(text)
            return Delta(piece, self.offset)
        return None

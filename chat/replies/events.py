"""What happens to a reply, as its readers get to know it, in this order."""

from typing import NamedTuple

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


class Thinking(NamedTuple):
    """More of what the model thinks; `offset` is the number of characters so far."""

    text: str
    offset: int


class Delta(NamedTuple):
    """More of the text; `offset` is the number of characters so far, these included."""

    text: str
    offset: int


class KeepAlive(NamedTuple):
    """Nothing new for a while: the connection is to be kept open."""


class End(NamedTuple):
    """The reply is complete or was stopped."""

    status: str
    finish_reason: str | None
    usage: dict[str, int | None] | None


class Failure(NamedTuple):
    """The reply will not be completed."""

    error: ApiError


Event = Start | Thinking | Delta | KeepAlive | End | Failure


def last_event(reply: Message, error: ApiError | None = None) -> End | Failure:
    """Return the event with which a reply has ended; `error` says why it failed, if known."""
    if reply.status == MessageStatus.INTERRUPTED:
        error = ReplyInterrupted()
    elif reply.status == MessageStatus.FAILED and error is None:
        error = ReplyFailed(reply.error_code)
    if error is None or reply.status in (MessageStatus.COMPLETE, MessageStatus.STOPPED):
        return End(reply.status, reply.finish_reason or None, reply.usage)
    return Failure(error)


class Cursor:
    """How far one reader of a reply is: in its thinking, and in its text from `offset` on."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.thinking_offset = 0

    def skip_thinking(self, thinking: str) -> None:
        """Pass over what the reader already has: the thinking comes before the text."""
        if self.offset:
            self.thinking_offset = len(thinking)

    def advance(self, text: str, thinking: str) -> Thinking | Delta | None:
        """Return all that the reader has not had yet of one of the two, if there is anything.

        Whoever reads slowly gets bigger pieces.
        """
        if len(thinking) > self.thinking_offset:
            piece = thinking[self.thinking_offset :]
            self.thinking_offset = len(thinking)
            return Thinking(piece, self.thinking_offset)
        if len(text) > self.offset:
            piece = text[self.offset :]
            self.offset = len(text)
            return Delta(piece, self.offset)
        return None

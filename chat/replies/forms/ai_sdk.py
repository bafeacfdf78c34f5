"""The AI SDK's UI message stream, version 1, which `useChat` reads: https://ai-sdk.dev.

One message is sent, whose id is the reply's, in at most two parts: its reasoning and its text.
"""

from typing import Any, ClassVar

from chat.models import MessageStatus
from chat.replies.events import (
    Delta,
    End,
    Failure,
    KeepAlive,
    Queued,
    ReplyInterrupted,
    Rewind,
    Start,
    Thinking,
)
from chat.replies.forms.form import Form, StreamAborted, to_json

DONE = b"data: [DONE]\n\n"


class UiMessageStream(Form):
    """Server-sent events without names, each a chunk of the message.

    A reader that connects again gets the message from its beginning, in place of what it has.
    """

    content_type = "text/event-stream"
    fixed_headers: ClassVar[dict[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    is_replay = True

    def __init__(self, reply_id: int) -> None:
        super().__init__(reply_id)
        self._start = b""  # until something follows it: a reply that fails at once is no message
        self._part = ""  # that is open: "reasoning" or "text"
        self._thoughts = self._text = ""  # so far

    def start(self, event: Start) -> bytes:
        """Keep the chunk `start`, with what else is known of the message, for the next one."""
        metadata = event._asdict() | {"status": MessageStatus.GENERATING}
        self._start = chunk(
            {"type": "start", "messageId": str(self.reply_id), "messageMetadata": metadata}
        )
        return b""

    def queued(self, event: Queued) -> bytes:
        """Return a chunk of data that the message does not keep."""
        return chunk({"type": "data-queued", "data": event._asdict(), "transient": True})

    def thinking(self, event: Thinking) -> bytes:
        """Return a piece of the part `reasoning`."""
        self._thoughts += event.text
        return self._piece("reasoning", event.text)

    def delta(self, event: Delta) -> bytes:
        """Return a piece of the part `text`."""
        self._text += event.text
        return self._piece("text", event.text)

    def rewind(self, event: Rewind) -> bytes:
        """Return the chunk `reset-step`, which empties the message, and all that is still true.

        A reader that began in the middle is cut off: it connects again, and gets all of it.
        """
        if event.offset > len(self._text):
            raise StreamAborted
        self._text = self._text[: event.offset]
        self._thoughts = self._thoughts if self._text else ""
        self._part = ""
        kept = (("reasoning", self._thoughts), ("text", self._text))
        pieces = [self._piece(part, text) for part, text in kept if text]
        return chunk({"type": "reset-step"}) + b"".join(pieces)

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Return a comment."""
        return b": still here\n\n"

    def end(self, event: End) -> bytes:
        """Return the chunk `finish`; its reason is `other` where the reply was stopped."""
        reason = "other" if event.status == MessageStatus.STOPPED else event.finish_reason or "stop"
        finish = {"type": "finish", "finishReason": reason, "messageMetadata": event._asdict()}
        return self._change_part("") + chunk(finish) + DONE

    def failure(self, event: Failure) -> bytes:
        """Return the chunk `error`: a sentence, whose code is in the metadata of the message."""
        error = chunk({"type": "error", "errorText": event.error.message}) + DONE
        if self._start:
            return error
        is_interrupted = isinstance(event.error, ReplyInterrupted)
        status = MessageStatus.INTERRUPTED if is_interrupted else MessageStatus.FAILED
        metadata = {"status": status, **event.body()}
        told = chunk({"type": "message-metadata", "messageMetadata": metadata})
        return self._change_part("") + told + error

    def _piece(self, part: str, text: str) -> bytes:
        piece = f'data: {{"type":"{part}-delta","id":"{part}","delta":{to_json(text)}}}\n\n'
        return piece.encode() if part == self._part else self._change_part(part) + piece.encode()

    def _change_part(self, part: str) -> bytes:
        """Return the end of the part that is open and the start of the next, where there are."""
        before, self._part = self._part, part
        start, self._start = self._start, b""
        changes = ((before, "end"), (part, "start"))
        return start + b"".join(
            chunk({"type": f"{name}-{change}", "id": name}) for name, change in changes if name
        )


def chunk(fields: dict[str, Any]) -> bytes:
    """Return one chunk of a message as a server-sent event."""
    return f"data: {to_json(fields)}\n\n".encode()

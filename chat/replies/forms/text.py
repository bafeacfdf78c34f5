"""Plain text: the reply's text alone."""

from collections.abc import AsyncIterator

from chat.replies.events import (
    Delta,
    End,
    Event,
    Failure,
    KeepAlive,
    Queued,
    Rewind,
    Start,
    Thinking,
)
from chat.replies.forms.form import Form, StreamAborted


class PlainText(Form):
    """The text, UTF-8; cut off where the reply fails."""

    content_type = "text/plain; charset=utf-8"

    async def encode(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """Return the text once it has begun. Raises the reply's `ApiError` if it fails before.

        Where it begins before the offset that the reader asked for, the header `Reply-Offset` says
        with which character.
        """
        first = b""
        async for event in events:
            if isinstance(event, Failure):
                raise event.error
            if isinstance(event, KeepAlive | Queued):
                continue
            if isinstance(event, Rewind):
                self.headers["Reply-Offset"] = str(event.offset)
                continue
            first = self._methods[type(event)](event)
            if first or isinstance(event, End):
                break
        return self._with_first(first, events)

    async def _with_first(self, first: bytes, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        yield first
        async for data in self._encode(events):
            yield data

    def start(self, event: Start) -> bytes:
        """Say nothing: the header `Reply-Id` has it."""
        return b""

    def queued(self, event: Queued) -> bytes:
        """Say nothing: whatever is sent is text."""
        return b""

    def thinking(self, event: Thinking) -> bytes:
        """Say nothing."""
        return b""

    def delta(self, event: Delta) -> bytes:
        """Return the text."""
        return event.text.encode()

    def rewind(self, event: Rewind) -> bytes:
        """Have the connection cut: nothing that was sent can be taken back."""
        raise StreamAborted

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Say nothing: whatever is sent is text."""
        return b""

    def end(self, event: End) -> bytes:
        """Say nothing: the end of the answer says it."""
        return b""

    def failure(self, event: Failure) -> bytes:
        """Have the connection cut."""
        raise StreamAborted

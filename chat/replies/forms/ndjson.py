"""NDJSON: one JSON object a line."""

from typing import Any

from chat.replies.events import Delta, End, Failure, KeepAlive, Queued, Rewind, Start, Thinking
from chat.replies.forms.form import Form, to_json


class Ndjson(Form):
    """The events, each with its `type`."""

    content_type = "application/x-ndjson"

    def start(self, event: Start) -> bytes:
        """Return a line of the type `start`."""
        return self._line("start", event._asdict())

    def queued(self, event: Queued) -> bytes:
        """Return a line of the type `queued`."""
        return self._line("queued", event._asdict())

    def thinking(self, event: Thinking) -> bytes:
        """Return a line of the type `thinking`."""
        return self._line("thinking", event._asdict())

    def delta(self, event: Delta) -> bytes:
        """Return a line of the type `delta`."""
        return self._line("delta", event._asdict())

    def rewind(self, event: Rewind) -> bytes:
        """Return a line of the type `rewind`."""
        return self._line("rewind", event._asdict())

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Return an empty line."""
        return b"\n"

    def end(self, event: End) -> bytes:
        """Return a line of the type `end`."""
        return self._line("end", event._asdict())

    def failure(self, event: Failure) -> bytes:
        """Return a line of the type `error`."""
        return self._line("error", event.body())

    def _line(self, kind: str, fields: dict[str, Any]) -> bytes:
        return f"{to_json({'type': kind, **fields})}\n".encode()

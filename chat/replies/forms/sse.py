"""Server-sent events, for a browser's `EventSource`."""

import re
from typing import Any

from chat.replies.events import Delta, End, Failure, KeepAlive, Queued, Rewind, Start, Thinking
from chat.replies.forms.form import Form, to_json
from core.errors import ApiError

END_MARK = ":end:"
EVENT_ID = re.compile(rf"[0-9]{{1,15}}({END_MARK}[1-9][0-9]{{0,14}})?")


class ServerSentEvents(Form):
    """Named events with JSON data.

    The id of a delta is the number of characters so far, which a browser sends back when it
    connects again; the last event's id says which reply has nothing more to come.
    """

    content_type = "text/event-stream"

    def __init__(self, reply_id: int) -> None:
        super().__init__(reply_id)
        self.offset = 0

    def start(self, event: Start) -> bytes:
        """Return the event `start`."""
        return self._event("start", event._asdict())

    def queued(self, event: Queued) -> bytes:
        """Return the event `queued`."""
        return self._event("queued", event._asdict())

    def thinking(self, event: Thinking) -> bytes:
        """Return the event `thinking`."""
        return self._event("thinking", {"text": event.text})

    def delta(self, event: Delta) -> bytes:
        """Return the event `delta`."""
        self.offset = event.offset
        return self._event("delta", {"text": event.text}, str(event.offset))

    def rewind(self, event: Rewind) -> bytes:
        """Return the event `rewind`, whose id is the offset to go on from."""
        self.offset = event.offset
        return self._event("rewind", event._asdict(), str(event.offset))

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Return a comment."""
        return b": still here\n\n"

    def end(self, event: End) -> bytes:
        """Return the event `end`."""
        return self._event("end", event._asdict(), self._last_id)

    def failure(self, event: Failure) -> bytes:
        """Return the event `error`."""
        return self._event("error", event.body(), self._last_id)

    @property
    def _last_id(self) -> str:
        return f"{self.offset}{END_MARK}{self.reply_id}"

    def _event(self, name: str, data: dict[str, Any], event_id: str = "") -> bytes:
        id_line = f"id: {event_id}\n" if event_id else ""
        return f"event: {name}\n{id_line}data: {to_json(data)}\n\n".encode()


def require_event_id(last_event_id: str) -> None:
    """Raise `ApiError` for an id that no stream sent."""
    if not EVENT_ID.fullmatch(last_event_id):
        raise ApiError("The Last-Event-ID is not one of this stream's.")


def offset_of(last_event_id: str, reply_id: int) -> int | None:
    """Return the number of characters after which an `EventSource` wants to go on with a reply.

    None where it has had this reply's last event.
    """
    offset, has_ended, ended_id = last_event_id.partition(END_MARK)
    if has_ended:
        # A reply that failed before its first word left no row: the newest one is older.
        return None if int(ended_id) >= reply_id else 0
    return int(offset)

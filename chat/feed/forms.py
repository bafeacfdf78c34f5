"""The forms of the stream of what happens to threads: server-sent events, and NDJSON."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from django.http import HttpRequest
from pydantic_core import to_json

from chat.feed.hub import KEEP_ALIVE
from chat.feed.reader import Notice
from core.errors import ApiError

MOST_DIGITS = 18


def server_sent(notice: Notice) -> bytes:
    """Return a notice as a server-sent event, whose id is where to resume after it.

    One that only keeps the connection open has an id, too: an `EventSource` notes it.
    """
    event_id = b"" if notice.position is None else b"id: %d\n" % notice.position
    if notice.type == KEEP_ALIVE:
        return b": still here\n%b\n" % event_id
    name, data = notice.type.encode(), to_json(notice.data)
    return b"event: %b\n%bdata: %b\n\n" % (name, event_id, data)


def line(notice: Notice) -> bytes:
    """Return a notice as a line of NDJSON, with the id as `event_id`."""
    if notice.type == KEEP_ALIVE:
        return b"\n"
    event_id = None if notice.position is None else str(notice.position)
    return to_json({"type": notice.type, "event_id": event_id, **notice.data}) + b"\n"


class Form(NamedTuple):
    """A media type, and how it says a notice."""

    content_type: str
    encode: Callable[[Notice], bytes]

    async def encoded(self, notices: AsyncIterator[Notice]) -> AsyncIterator[bytes]:
        """Yield what is sent."""
        async for notice in notices:
            yield self.encode(notice)


SERVER_SENT_EVENTS = Form("text/event-stream", server_sent)
NDJSON = Form("application/x-ndjson", line)


def preferred_form(request: HttpRequest) -> Form:
    """Return the form that `Accept` prefers: server-sent events for what is neither."""
    for accepted in request.accepted_types:
        for form in (SERVER_SENT_EVENTS, NDJSON):
            if accepted.match(form.content_type):
                return form
    return SERVER_SENT_EVENTS


def position_of(last_event_id: str | None) -> int | None:
    """Return where a client wants to resume, None where it begins.

    Raises `ApiError` for an id that no stream sent.
    """
    if not last_event_id:
        return None
    is_number = last_event_id.isascii() and last_event_id.isdigit()
    if not is_number or len(last_event_id) > MOST_DIGITS:
        raise ApiError("The Last-Event-ID is not one of this stream's.")
    return int(last_event_id)

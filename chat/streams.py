"""The forms in which a reply is sent, chosen by `Accept`; all say the same."""

import json
from collections.abc import AsyncIterator

from django.http import HttpRequest, StreamingHttpResponse

from chat.events import Beat, Delta, End, Event, Failure, Start, Thought
from llama_chatbot.errors import ApiError

PLAIN_TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
NDJSON = "application/x-ndjson"

END_MARK = ":end:"

HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx passes each piece on at once
}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class StreamAborted(Exception):
    """A plain text cannot say that it is not whole, so its connection is cut instead."""


async def respond(
    request: HttpRequest, reply_id: int, events: AsyncIterator[Event]
) -> StreamingHttpResponse:
    """Return the answer that sends a reply's events as the client wants them.

    Plain text begins with the first token, so a failure before it is raised as its `ApiError`.
    """
    form = preferred_form(request)
    if form == EVENT_STREAM:
        content = server_sent_events(reply_id, events)
    elif form == NDJSON:
        content = json_lines(events)
    else:
        content = plain_text(await first_text(events), events)
        form = f"{PLAIN_TEXT}; charset=utf-8"
    headers = {**HEADERS, "Reply-Id": str(reply_id)}
    return StreamingHttpResponse(content, content_type=form, headers=headers)


def preferred_form(request: HttpRequest) -> str:
    """Return the form that `Accept` prefers, whatever parameters it adds; plain text for others."""
    for accepted in request.accepted_types:
        name = f"{accepted.main_type}/{accepted.sub_type}"
        if name in (PLAIN_TEXT, EVENT_STREAM, NDJSON):
            return name
        if name in ("*/*", "text/*"):
            break
    return PLAIN_TEXT


def offset_of(last_event_id: str, reply_id: int) -> int | None:
    """Return the number of characters after which an `EventSource` wants to go on with a reply.

    None where it has had the last event of this one.
    """
    offset, has_ended, ended_id = last_event_id.partition(END_MARK)
    for number in (offset, ended_id) if has_ended else (offset,):
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            raise ApiError("The Last-Event-ID is not one of this stream's.")
    if has_ended:
        # A newer one than the thread's newest had failed, and left the thread as it was.
        return None if int(ended_id) >= reply_id else 0
    return int(offset)


async def first_text(events: AsyncIterator[Event]) -> str:
    """Return the first piece of text, empty where the reply ends without one."""
    async for event in events:
        match event:
            case Delta(text):
                return text
            case End():
                return ""
            case Failure(error):
                raise error
    return ""


async def plain_text(first: str, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Yield the text alone. Raises `StreamAborted` where the reply fails."""
    yield first.encode()
    async for event in events:
        match event:
            case Delta(text):
                yield text.encode()
            case Failure():
                raise StreamAborted


async def server_sent_events(reply_id: int, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Yield the events for a browser's `EventSource`.

    The id of a delta is the number of characters so far, which a browser sends back when it
    connects again; the last event's id tells which reply has nothing more to come.
    """
    offset = 0
    async for event in events:
        match event:
            case Delta(text, offset):
                yield f"event: delta\nid: {offset}\ndata: {_encode({'text': text})}\n\n".encode()
            case Beat():
                yield b": still here\n\n"
            case Thought(text):
                yield f"event: thinking\ndata: {_encode({'text': text})}\n\n".encode()
            case Start():
                yield f"event: start\ndata: {_encode(event._asdict())}\n\n".encode()
            case End():
                data = _encode(event._asdict())
                yield f"event: end\nid: {offset}{END_MARK}{reply_id}\ndata: {data}\n\n".encode()
            case Failure(error):
                data = _encode(error.body())
                yield f"event: error\nid: {offset}{END_MARK}{reply_id}\ndata: {data}\n\n".encode()


async def json_lines(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Yield one JSON object a line."""
    async for event in events:
        match event:
            case Delta():
                yield f"{_encode({'type': 'delta', **event._asdict()})}\n".encode()
            case Thought():
                yield f"{_encode({'type': 'thinking', **event._asdict()})}\n".encode()
            case Start():
                yield f"{_encode({'type': 'start', **event._asdict()})}\n".encode()
            case End():
                yield f"{_encode({'type': 'end', **event._asdict()})}\n".encode()
            case Failure(error):
                yield f"{_encode({'type': 'error', **error.body()})}\n".encode()

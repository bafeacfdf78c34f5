"""Streams of replies: sent, followed and read as far as a test wants."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from chat.models import Thread
from testing.people import Caller

SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}


class Sse(NamedTuple):
    """One server-sent event."""

    type: str
    id: str | None
    data: Any


def events_of(text: str) -> list[Sse]:
    """Parse an event stream as far as it came; comments are left out."""
    events = []
    *blocks, _unfinished = text.split("\n\n")
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields.get("event"):
            events.append(Sse(fields["event"], fields.get("id"), json.loads(fields["data"])))
    return events


def text_of(events: list[Sse]) -> str:
    """Return the text that the deltas make."""
    return "".join(event.data["text"] for event in events if event.type == "delta")


def path_of(thread: Thread) -> str:
    """Return the address at which a thread's replies are made and followed."""
    return f"/chat/streaming-response/{thread.pk}/"


class Reading:
    """A stream that somebody reads as far as the test wants."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.text = ""
        self._chunks = response.iter_text()

    def until(self, text: str) -> None:
        """Read on until the stream has said this."""
        while text not in self.text:
            self.text += next(self._chunks)

    def to_the_end(self) -> str:
        """Read all that comes, and return all that came."""
        for chunk in self._chunks:
            self.text += chunk
        return self.text


@contextmanager
def sending(
    caller: Caller, thread: Thread, message: str = "Hello", **headers: str
) -> Iterator[Reading]:
    """Send a message and keep the stream open; by default server-sent events."""
    with caller.stream(
        "POST", path_of(thread), json={"message": message}, headers={**SSE, **headers}
    ) as response:
        assert response.status_code == 200, response.read()
        yield Reading(response)


@contextmanager
def following(caller: Caller, thread: Thread, offset: int = 0, **headers: str) -> Iterator[Reading]:
    """Follow a thread's reply and keep the stream open; by default server-sent events."""
    with caller.stream(
        "GET", path_of(thread), params={"offset": offset}, headers={**SSE, **headers}
    ) as response:
        assert response.status_code == 200, response.read()
        yield Reading(response)

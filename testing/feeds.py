"""The stream of what happens to a user's threads, read as far as a test wants."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from testing.people import Caller
from testing.streams import SSE, Sse

URL = "/chat/events/"


class Listening:
    """Somebody's stream of server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""  # as an `EventSource` knows it
        self._lines = response.iter_lines()

    def next(self) -> Sse:
        """Return the next event; `StopIteration` at the end."""
        fields: dict[str, str] = {}
        while True:
            line = next(self._lines)
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            self.last_id = fields.get("id", self.last_id)
            if "event" in fields:
                return Sse(fields["event"], fields.get("id"), json.loads(fields["data"]))
            fields = {}

    def until(self, kind: str, **data: Any) -> list[Sse]:
        """Return the events up to the next of this kind that has these data."""
        events = [self.next()]
        while not (events[-1].type == kind and data.items() <= events[-1].data.items()):
            events.append(self.next())
        return events

    def is_over(self, seconds: float = 12.0) -> bool:
        """Read to the end; return whether it has come in time."""
        began = time.monotonic()
        try:
            while time.monotonic() - began < seconds:
                next(self._lines)
        except StopIteration:
            return True
        return False


@contextmanager
def listening(caller: Caller, since: str = "", **headers: str) -> Iterator[Listening]:
    """Listen to what happens to a caller's threads, after the event `since` or from now on."""
    resume = {"Last-Event-ID": since} if since else {}
    with caller.stream("GET", URL, headers={**SSE, **resume, **headers}) as response:
        assert response.status_code == 200, response.read()
        listening = Listening(response)
        assert listening.next().type == "start"
        yield listening

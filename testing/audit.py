"""The audit log, as a server writes it."""

import json
from typing import Any
from uuid import uuid4

from testing.processes import Server
from testing.waiting import wait_until


class Audit:
    """The audit log's lines about one request, which is sent with `headers`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.request_id = uuid4().hex
        self.headers = {"X-Request-ID": self.request_id}

    def lines(self) -> list[dict[str, Any]]:
        """Return what has been logged so far."""
        lines = [json.loads(line) for line in self.server.log().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["request_id"] == self.request_id]

    def events(self) -> list[str]:
        """Return the names of the events so far."""
        return [line["event"] for line in self.lines()]

    def event(self, name: str) -> dict[str, Any]:
        """Return the one line of an event, when it is there."""
        wait_until(lambda: name in self.events(), 5, lambda: f"{name} is not in {self.events()}")
        (line,) = (line for line in self.lines() if line["event"] == name)
        return line

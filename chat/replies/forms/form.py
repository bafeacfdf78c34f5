"""What the forms of a stream have in common: one method for each event."""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

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

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class StreamAborted(Exception):
    """A form cannot say what has happened, so its connection is cut instead."""


class Form(ABC):
    """Writes the events of one reply as bytes; an event that it has no words for is `b""`."""

    content_type: ClassVar[str]
    fixed_headers: ClassVar[dict[str, str]] = {}
    # Whether it starts over for whoever follows a reply, and only while the reply runs.
    is_replay: ClassVar[bool] = False

    def __init__(self, reply_id: int) -> None:
        self.reply_id = reply_id
        self.headers = dict(self.fixed_headers)  # of the answer, beside those of all forms
        self._methods: dict[type[Event], Callable[[Any], bytes]] = {
            Start: self.start,
            Queued: self.queued,
            Thinking: self.thinking,
            Delta: self.delta,
            Rewind: self.rewind,
            KeepAlive: self.keep_alive,
            End: self.end,
            Failure: self.failure,
        }

    async def encode(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """Return what is sent; the answer begins when this returns."""
        return self._encode(events)

    async def _encode(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        async for event in events:
            if data := self._methods[type(event)](event):
                yield data

    @abstractmethod
    def start(self, event: Start) -> bytes:
        """Say which reply this is."""

    @abstractmethod
    def queued(self, event: Queued) -> bytes:
        """Say how many replies come before this one."""

    @abstractmethod
    def thinking(self, event: Thinking) -> bytes:
        """Add to what the model thinks."""

    @abstractmethod
    def delta(self, event: Delta) -> bytes:
        """Add to the text."""

    @abstractmethod
    def rewind(self, event: Rewind) -> bytes:
        """Say that the text beyond an offset is void, and comes again."""

    @abstractmethod
    def keep_alive(self, event: KeepAlive) -> bytes:
        """Send something that means nothing."""

    @abstractmethod
    def end(self, event: End) -> bytes:
        """Say that the reply has ended well."""

    @abstractmethod
    def failure(self, event: Failure) -> bytes:
        """Say why the reply will not be completed."""

"""Servers with a queue, for its tests, and what its readers are told."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chat.models import Thread
from testing.people import Caller
from testing.scripted_ollama.script import ChatSeen
from testing.streams import Reading, Sse, events_of, sending

ONE = {"OLLAMA_PARALLEL": "1"}
NOTICED_AFTER = 0.25  # seconds, in which an Ollama sees that a call was cut off


def positions(events: Sequence[Sse]) -> list[int]:
    """Return the positions in the queue that a reader was told."""
    return [event.data["position"] for event in events if event.type == "queued"]


@contextmanager
def waiting(
    caller: Caller, thread: Thread, position: int, message: str = "Hello"
) -> Iterator[Reading]:
    """Send a message, and keep the stream open once the reply has this place in the queue."""
    with sending(caller, thread, message) as reading:
        reading.until(f'event: queued\ndata: {{"position":{position}}}\n\n')
        yield reading


def said(chat: ChatSeen) -> str:
    """Return the message that a call answers."""
    return str([m["content"] for m in chat.messages if m["role"] == "user"][-1])


def most_at_once(chats: Sequence[ChatSeen]) -> int:
    """Return how many calls an Ollama served at the same moment.

    One that was cut off counts until its process closed the connection, which is a little earlier
    than the Ollama notices.
    """
    changes = []
    for chat in chats:
        ended = time.monotonic() if chat.ended is None else chat.ended
        if chat.ended_by == "disconnect":
            ended = max(chat.started, ended - NOTICED_AFTER)
        changes += [(chat.started, 1), (ended, -1)]
    most = running = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def types_of(reading: Reading) -> list[str]:
    """Return the types of the events that a reader had so far."""
    return [event.type for event in events_of(reading.text)]

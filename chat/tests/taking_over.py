"""Replies in mid-answer and orphans, for the tests of their being carried on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from chat.models import Message, MessageStatus, Sender, Thread
from chat.replies.owner import HOST
from testing.people import Caller
from testing.replies import wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import (
    Reading,
    sending,
)

WORDS = [f"word{number} " for number in range(8)]


WHOLE = "".join(WORDS)


HALF = "".join(WORDS[:4])


ELSEWHERE = "another-machine/1/0123abcd"


DEAD_HERE = f"{HOST}/4194305/0123abcd"  # more than Linux ever gives


ALIVE_HERE = f"{HOST}/1/0123abcd"


def orphan(
    thread: Thread, owner: str, seconds: float, content: str = "", **fields: object
) -> Message:
    """Store a reply whose process was last heard of that many seconds ago."""
    question = thread.messages.create(sender=Sender.USER, content="Hello")
    return thread.messages.create(
        sender=Sender.BOT,
        parent=question,
        content=content,
        status=MessageStatus.GENERATING,
        model=thread.model,
        owner=owner,
        heartbeat_at=timezone.now() - timedelta(seconds=seconds),
        **fields,
    )


@contextmanager
def in_mid_answer(
    caller: Caller, thread: Thread, ollama: ScriptedOllama, **headers: str
) -> Iterator[Reading]:
    """Send a message, read half of the reply, and wait until that is stored."""
    ollama.script = Script(WORDS, hold_after=4)
    with sending(caller, thread, **headers) as reading:
        reading.until("word3")
        wait_for_text(thread, HALF)
        ollama.script = Script(WORDS)  # for who carries it on
        yield reading


def rest_of(reading: Reading) -> None:
    """Read on until the connection is cut."""
    with pytest.raises(httpx.TransportError):
        reading.to_the_end()

"""The end of the process: its replies end before it does."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.models import Thread
from chat.replies import actions, store
from chat.replies.drafts import Draft
from chat.replies.events import Cursor, End, Failure
from chat.replies.owner import NOBODY
from chat.replies.registry import Registry
from chat.tests.in_process import begin, last_of, stored
from core.errors import ServerShuttingDown
from testing.outages import database_is_locked
from testing.scripted_ollama import Script, ScriptedOllama

# What is let go of here, another server would carry on.
pytestmark = pytest.mark.usefixtures("alone")


async def test_a_reply_that_begins_when_the_server_has_drained_is_handed_over_at_once(
    draft: Draft,
    registry: Registry,
) -> None:
    started = await begin(draft)
    await registry.drain()

    registry.write(started)
    await registry.drain()

    assert ((await stored(draft)).status, (await stored(draft)).owner) == ("generating", NOBODY)
    assert not registry.replies
    with pytest.raises(ServerShuttingDown):
        await actions.send(draft, started.thread)


async def test_a_send_that_comes_with_the_signal_is_begun_and_handed_over(
    draft: Draft, ollama: ScriptedOllama, settings: Any, registry: Registry
) -> None:
    settings.CHAT_SHUTDOWN_GRACE_SECONDS = 0
    ollama.script = Script(["One", " two"], hold_after=1)
    thread = await sync_to_async(Thread.objects.get)()

    drained = registry.drain()
    await actions.send(draft, thread)
    await drained

    assert ((await stored(draft)).status, (await stored(draft)).owner) == ("generating", NOBODY)


async def test_the_process_ends_though_an_end_cannot_be_stored(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, settings: Any, registry: Registry
) -> None:
    settings.CHAT_SHUTDOWN_GRACE_SECONDS = 0.1

    def save_outcome(*args: Any) -> None:
        raise database_is_locked()

    monkeypatch.setattr(store, "save_outcome", save_outcome)
    monkeypatch.setattr("chat.replies.registry.SAVE_SECONDS", 0.1)
    reading = asyncio.create_task(last_of(registry.write(await begin(draft)).follow(Cursor(0))))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await registry.drain()
        last = await reading

    assert not isinstance(last, End | Failure)
    reply = await stored(draft)
    assert (reply.status, reply.owner, reply.content) == ("generating", NOBODY, "You said: Hello")

"""A reply as its own process writes it: what is read of it, and what becomes of it."""

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pytest

from chat.models import Message, MessageStatus, Thread
from chat.ollama import client
from chat.replies import actions, follow, live
from chat.replies.drafts import Draft
from chat.replies.events import Cursor, Delta, End, Failure, KeepAlive, Start
from chat.replies.live import LiveReply
from chat.replies.registry import Registry
from chat.replies.store import StartedReply
from chat.tests.in_process import begin, stored, text_of, until
from testing.scripted_ollama import Script, ScriptedOllama


async def test_a_reply_that_is_ended_before_it_began_to_run_ends(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    reply = registry.write(await begin(draft))
    reply.cut_short(MessageStatus.STOPPED)

    async with asyncio.timeout(5):
        events = [event async for event in reply.follow(Cursor(0))]

    assert [type(event) for event in events] == [Start, End]
    assert (await stored(draft)).status == "stopped"
    assert ollama.chats == []


async def test_a_client_that_leaves_while_its_message_is_stored_gets_its_reply(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    starts, is_storing, may_store = actions.start, threading.Event(), threading.Event()

    def start_slowly(*args: Any) -> StartedReply | int:
        is_storing.set()
        assert may_store.wait(5)
        return starts(*args)

    monkeypatch.setattr(actions, "start", start_slowly)
    thread = await Thread.objects.aget(pk=draft.thread_id)
    await client.context_length(thread.model)
    sending = asyncio.create_task(actions.send(draft, thread))
    await until(is_storing.is_set)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    may_store.set()
    await until(lambda: ollama.chats and ollama.chats[0].held)
    assert registry.replies
    ollama.release()
    await until(lambda: not registry.replies)

    assert ((await stored(draft)).status, (await stored(draft)).content) == ("complete", "Hello")


async def test_a_bug_in_the_server_ends_the_reply_too(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    async def chat(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client, "chat", chat)

    events = [event async for event in registry.write(await begin(draft)).follow(Cursor(0))]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "model_unavailable"
    assert not await Message.objects.filter(thread=draft.thread_id).aexists()


async def test_a_reply_that_was_stopped_as_the_model_failed_is_stopped(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    ollama.script = Script(then="die", hold_after=0)
    reply = registry.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    await Message.objects.filter(pk=reply.started.reply.pk).aupdate(status="stopped")
    ollama.release()

    events = [event async for event in reply.follow(Cursor(0))]

    assert isinstance(events[-1], End)
    assert events[-1].status == "stopped" == (await stored(draft)).status


async def test_readers_of_a_silent_reply_hear_that_it_lives(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    ollama.script = Script(["Hm"], hold_after=0)
    for module in (live, follow):
        monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    elsewhere = Registry()
    reply = elsewhere.write(await begin(draft))

    for events in (
        reply.follow(Cursor(0)),
        follow.follow_stored(reply.started.reply.pk, Cursor(0)),
    ):
        began = time.monotonic()
        assert [type(await anext(events)) for _ in range(3)] == [Start, KeepAlive, KeepAlive]
        assert 0.15 < time.monotonic() - began < 2
    ollama.release()
    await reply.task


async def test_a_slow_reader_gets_bigger_pieces(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    ollama.script = Script([f"{number} " for number in range(100)])
    reply = registry.write(await begin(draft))
    events = reply.follow(Cursor(0))
    assert isinstance(await anext(events), Start)

    await reply.task

    rest = [event async for event in events]
    assert [type(event) for event in rest] == [Delta, End]
    assert text_of(rest) == (await stored(draft)).content


async def test_a_finished_reply_is_forgotten(draft: Draft, registry: Registry) -> None:
    reply = registry.write(await begin(draft))
    await reply.task
    gone: weakref.ref[LiveReply] = weakref.ref(reply)

    def is_forgotten() -> bool:
        gc.collect()
        return gone() is None

    del reply
    await until(is_forgotten)  # the task that makes the checkpoints knows it until it ends
    assert registry.replies == {}

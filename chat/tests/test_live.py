"""What only a test inside the process can arrange: the exact moment, a database that is away."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.utils import timezone
from pytest_django.fixtures import Settings

from chat.models import Message, MessageStatus, Sender, Thread
from chat.ollama import calls, client, transport
from chat.ollama.hosts import Health
from chat.replies import actions, follow, live, store
from chat.replies.events import Delta, End, Event, Failure, KeepAlive, Start
from chat.replies.live import LiveReply, Registry
from chat.replies.orphans import interrupt_orphans
from chat.replies.store import Draft, Outcome, StartedReply
from core.database import in_background, writers
from testing.people import create_user
from testing.scripted_ollama import Script, ScriptedOllama

WINDOW = 4096


@pytest.fixture
def draft(database: None, ollama: ScriptedOllama, settings: Settings) -> Draft:
    """A message that Ann is about to send."""
    settings.OLLAMA_HOST = ollama.url
    ann = create_user("ann")
    thread = Thread.objects.create(user=ann, model="llama3.2")
    return Draft(ann, thread.pk, "Hello", "newest", "")


@pytest_asyncio.fixture(autouse=True)
async def process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A process that has just started, as far as this module's state goes."""
    monkeypatch.setattr(live, "registry", Registry())
    monkeypatch.setattr(live, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(calls, "health", Health(calls.version, calls._write_a_token))
    yield
    assert not live.registry.replies
    await transport.close()
    await sync_to_async(connections.close_all)()  # no request ends here, which would do it


async def begin(draft: Draft) -> StartedReply:
    thread = await Thread.objects.aget(pk=draft.thread_id)
    started = await in_background(writers, actions.start, draft, thread, WINDOW)
    assert isinstance(started, StartedReply)
    return started


async def stored(draft: Draft) -> Message:
    return await Message.objects.aget(thread=draft.thread_id, sender=Sender.BOT)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def test_a_reply_that_is_ended_before_it_began_to_run_ends(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    reply = live.registry.write(await begin(draft))
    reply.end(MessageStatus.STOPPED)

    async with asyncio.timeout(5):
        events = [event async for event in reply.follow(0)]

    assert [type(event) for event in events] == [Start, End]
    assert (await stored(draft)).status == "stopped"
    assert ollama.chats == []


async def test_a_client_that_leaves_while_its_message_is_stored_gets_its_reply(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    starts = actions.start

    def start_slowly(*args: Any) -> StartedReply | int:
        time.sleep(0.2)
        return starts(*args)

    monkeypatch.setattr(actions, "start", start_slowly)
    thread = await Thread.objects.aget(pk=draft.thread_id)
    await client.context_length(thread.model)
    sending = asyncio.create_task(actions.send(draft, thread))
    await asyncio.sleep(0.1)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await until(lambda: ollama.chats and ollama.chats[0].held)
    assert live.registry.replies
    ollama.release()
    await until(lambda: not live.registry.replies)

    assert ((await stored(draft)).status, (await stored(draft)).content) == ("complete", "Hello")


async def test_a_reply_that_begins_when_the_server_has_drained_is_interrupted_at_once(
    draft: Draft,
) -> None:
    started = await begin(draft)
    await live.registry.drain()

    live.registry.write(started)
    await live.registry.drain()

    assert (await stored(draft)).status == "interrupted"
    with pytest.raises(live.ServerShuttingDown):
        await actions.send(draft, started.thread)


async def test_an_end_that_cannot_be_stored_is_stored_later(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves, asked = store.save_outcome, []

    def save_outcome(*args: Any) -> None:
        asked.append(args)
        if len(asked) < 3:
            raise OperationalError("database is locked")
        saves(*args)

    monkeypatch.setattr(store, "save_outcome", save_outcome)
    monkeypatch.setattr(live, "SAVE_RETRY_SECONDS", 0.01)

    events = [event async for event in live.registry.write(await begin(draft)).follow(0)]

    assert len(asked) == 3
    assert text_of(events) == "You said: Hello"
    assert isinstance(events[-1], End)
    assert ((await stored(draft)).status, (await stored(draft)).content) == (
        "complete",
        "You said: Hello",
    )


@pytest.mark.parametrize("problem", [OperationalError("away"), ValueError("a mistake")])
async def test_checkpoints_outlive_one_that_failed(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    checkpoints, asked = store.save_checkpoint, []

    def checkpoint(*args: Any) -> Any:
        asked.append(args)
        if len(asked) < 3:
            raise problem
        return checkpoints(*args)

    monkeypatch.setattr(store, "save_checkpoint", checkpoint)
    reply = live.registry.write(await begin(draft))
    await until(lambda: len(asked) > 4)

    assert (await stored(draft)).content == "one "
    ollama.release()
    await reply.task
    assert (await stored(draft)).status == "complete"


async def test_a_mistake_of_ours_ends_the_reply_too(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chat(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client, "chat", chat)

    events = [event async for event in live.registry.write(await begin(draft)).follow(0)]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "model_unavailable"
    assert not await Message.objects.filter(thread=draft.thread_id).aexists()


async def test_an_end_that_can_never_be_stored_leaves_its_text(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = store.save_outcome

    def save_outcome(started: StartedReply, text: str, thinking: str, outcome: Outcome) -> None:
        if outcome.stats:
            raise OverflowError
        saves(started, text, thinking, outcome)

    monkeypatch.setattr(store, "save_outcome", save_outcome)

    events = [event async for event in live.registry.write(await begin(draft)).follow(0)]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "reply_interrupted"
    reply = await stored(draft)
    assert (reply.status, reply.content) == ("interrupted", "You said: Hello")


async def test_the_process_ends_though_an_end_cannot_be_stored(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.CHAT_SHUTDOWN_GRACE_SECONDS = 0.1

    def save_outcome(*args: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(store, "save_outcome", save_outcome)
    monkeypatch.setattr(live, "SAVE_SECONDS", 0.1)
    reading = asyncio.create_task(last_of(live.registry.write(await begin(draft)).follow(0)))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await live.registry.drain()
        last = await reading

    assert isinstance(last, Failure)
    assert last.error.code == "reply_interrupted"


async def last_of(events: AsyncIterator[Event]) -> Event:
    return [event async for event in events][-1]


async def test_who_follows_elsewhere_waits_while_the_database_is_locked(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reads, asked = follow.read, []

    def read(*args: Any, **kwargs: Any) -> Message | None:
        asked.append(args)
        if 1 < len(asked) < 4:
            raise OperationalError("database is locked")
        return reads(*args, **kwargs)

    monkeypatch.setattr(follow, "read", read)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    reply = live.registry.write(await begin(draft))
    reading = asyncio.create_task(last_of(follow.follow_stored(reply.started.reply.pk, 0)))
    await until(lambda: len(asked) > 4)

    ollama.release()

    assert isinstance(await reading, End)


async def test_a_reply_that_was_stopped_as_the_model_failed_is_stopped(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(then="die", hold_after=0)
    reply = live.registry.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    await Message.objects.filter(pk=reply.started.reply.pk).aupdate(status="stopped")
    ollama.release()

    events = [event async for event in reply.follow(0)]

    assert isinstance(events[-1], End)
    assert events[-1].status == "stopped" == (await stored(draft)).status


async def test_readers_of_a_silent_reply_hear_that_it_lives(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["Hm"], hold_after=0)
    for module in (live, follow):
        monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    reply = live.registry.write(await begin(draft))

    for events in (reply.follow(0), follow.follow_stored(reply.started.reply.pk, 0)):
        began = time.monotonic()
        assert [type(await anext(events)) for _ in range(3)] == [Start, KeepAlive, KeepAlive]
        assert 0.15 < time.monotonic() - began < 2
    ollama.release()
    await reply.task


async def test_a_slow_reader_gets_bigger_pieces(draft: Draft, ollama: ScriptedOllama) -> None:
    ollama.script = Script([f"{number} " for number in range(100)])
    reply = live.registry.write(await begin(draft))
    events = reply.follow(0)
    assert isinstance(await anext(events), Start)

    await reply.task

    rest = [event async for event in events]
    assert [type(event) for event in rest] == [Delta, End]
    assert text_of(rest) == (await stored(draft)).content


async def test_a_thread_whose_process_had_died_is_as_it_was_when_the_model_fails(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500)
    await Message.objects.acreate(
        thread_id=draft.thread_id,
        sender=Sender.BOT,
        status=MessageStatus.GENERATING,
        owner="another machine/1/x",
        heartbeat_at=timezone.now() - timedelta(minutes=1),
    )
    before = await Thread.objects.aget(pk=draft.thread_id)

    await live.registry.write(await begin(draft)).task

    after = await Thread.objects.aget(pk=draft.thread_id)
    assert (after.title, after.updated_at) == (before.title, before.updated_at)


async def test_a_reply_of_this_process_lives_however_long_its_database_was_away(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reply = live.registry.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    row = Message.objects.filter(pk=reply.started.reply.pk)
    long_ago = timezone.now() - timedelta(minutes=1)
    await row.aupdate(heartbeat_at=long_ago)

    assert await in_background(writers, interrupt_orphans, row)

    ollama.release()
    await reply.task
    assert (await stored(draft)).status == "complete"
    await row.aupdate(status="generating", heartbeat_at=long_ago)
    assert not await in_background(
        writers, interrupt_orphans, row
    )  # nobody writes this one any more


async def test_who_follows_a_reply_whose_thread_is_deleted_elsewhere_sees_it_stopped(
    draft: Draft,
) -> None:
    await Message.objects.acreate(
        thread_id=draft.thread_id,
        sender=Sender.BOT,
        status=MessageStatus.GENERATING,
        owner="another machine/1/x",
        heartbeat_at=timezone.now(),
    )
    events = follow.follow((await stored(draft)).pk)
    assert isinstance(await anext(events), Start)

    await Thread.objects.filter(pk=draft.thread_id).adelete()

    (last,) = [event async for event in events]
    assert isinstance(last, End)
    assert last.status == "stopped"


async def test_who_asks_a_moment_late_hears_why_the_model_failed(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500, error="out of memory")
    reply = live.registry.write(await begin(draft))
    await reply.task

    last = await last_of(follow.follow(reply.started.reply.pk))

    assert isinstance(last, Failure)
    assert "out of memory" in last.error.message


async def test_a_finished_reply_is_forgotten(draft: Draft) -> None:
    reply = live.registry.write(await begin(draft))
    await reply.task
    gone: weakref.ref[LiveReply] = weakref.ref(reply)

    del reply
    await asyncio.sleep(0.1)  # the checkpoints end
    gc.collect()

    assert gone() is None
    assert live.registry.replies == {}

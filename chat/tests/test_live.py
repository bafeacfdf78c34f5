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

from chat import journal, live, llm, replies
from chat.database import in_background, writers
from chat.events import Beat, Delta, End, Event, Failure, Start
from chat.journal import Begun, Draft, Ending
from chat.live import LiveReply
from chat.models import Message, Sender, Thread
from chat.models import Status as MessageStatus
from llama_chatbot.tests.people import create_user
from llama_chatbot.tests.scripted_ollama import Script, ScriptedOllama

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
    """A process that has just begun, as far as this module's state goes."""
    monkeypatch.setattr(live, "_checkpoint_soon", asyncio.Event())
    monkeypatch.setattr(live, "_checkpoints", None)
    monkeypatch.setattr(live, "_drained", None)
    monkeypatch.setattr(live, "_is_over", False)
    monkeypatch.setattr(live, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(llm, "health", llm.Health())
    yield
    assert not live.replies
    await llm.close()
    await sync_to_async(connections.close_all)()  # no request ends here, which would do it


async def begin(draft: Draft) -> Begun:
    thread = await Thread.objects.aget(pk=draft.thread_id)
    begun = await in_background(writers, journal.begin, draft, thread, WINDOW)
    assert isinstance(begun, Begun)
    return begun


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
    reply = live.write(await begin(draft))
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
    begins = journal.begin

    def begin_slowly(*args: Any) -> Begun | int:
        time.sleep(0.2)
        return begins(*args)

    monkeypatch.setattr(journal, "begin", begin_slowly)
    thread = await Thread.objects.aget(pk=draft.thread_id)
    await llm.context_length(thread.model)
    sending = asyncio.create_task(replies.send(draft, thread))
    await asyncio.sleep(0.1)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await until(lambda: ollama.chats and ollama.chats[0].held)
    assert live.replies
    ollama.release()
    await until(lambda: not live.replies)

    assert ((await stored(draft)).status, (await stored(draft)).content) == ("complete", "Hello")


async def test_a_reply_that_begins_when_the_server_has_drained_is_interrupted_at_once(
    draft: Draft,
) -> None:
    begun = await begin(draft)
    await live.drain()

    live.write(begun)
    await live.drain()

    assert (await stored(draft)).status == "interrupted"
    with pytest.raises(live.ServerEnds):
        await replies.send(draft, begun.thread)


async def test_an_end_that_cannot_be_stored_is_stored_later(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    settles, asked = journal.settle, []

    def settle(*args: Any) -> None:
        asked.append(args)
        if len(asked) < 3:
            raise OperationalError("database is locked")
        settles(*args)

    monkeypatch.setattr(journal, "settle", settle)
    monkeypatch.setattr(live, "SETTLE_RETRY_SECONDS", 0.01)

    events = [event async for event in live.write(await begin(draft)).follow(0)]

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
    checkpoints, asked = journal.checkpoint, []

    def checkpoint(*args: Any) -> Any:
        asked.append(args)
        if len(asked) < 3:
            raise problem
        return checkpoints(*args)

    monkeypatch.setattr(journal, "checkpoint", checkpoint)
    reply = live.write(await begin(draft))
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

    monkeypatch.setattr(llm, "chat", chat)

    events = [event async for event in live.write(await begin(draft)).follow(0)]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "model_unavailable"
    assert not await Message.objects.filter(thread=draft.thread_id).aexists()


async def test_an_end_that_can_never_be_stored_leaves_its_text(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    settles = journal.settle

    def settle(begun: Begun, text: str, thinking: str, ending: Ending) -> None:
        if ending.record:
            raise OverflowError
        settles(begun, text, thinking, ending)

    monkeypatch.setattr(journal, "settle", settle)

    events = [event async for event in live.write(await begin(draft)).follow(0)]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "reply_interrupted"
    reply = await stored(draft)
    assert (reply.status, reply.content) == ("interrupted", "You said: Hello")


async def test_the_process_ends_though_an_end_cannot_be_stored(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.CHAT_SHUTDOWN_GRACE_SECONDS = 0.1

    def settle(*args: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(journal, "settle", settle)
    monkeypatch.setattr(live, "SETTLE_SECONDS", 0.1)
    reading = asyncio.create_task(last_of(live.write(await begin(draft)).follow(0)))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await live.drain()
        last = await reading

    assert isinstance(last, Failure)
    assert last.error.code == "reply_interrupted"


async def last_of(events: AsyncIterator[Event]) -> Event:
    return [event async for event in events][-1]


async def test_who_follows_elsewhere_waits_while_the_database_is_locked(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reads, asked = journal.read, []

    def read(*args: Any, **kwargs: Any) -> Message | None:
        asked.append(args)
        if 1 < len(asked) < 4:
            raise OperationalError("database is locked")
        return reads(*args, **kwargs)

    monkeypatch.setattr(journal, "read", read)
    monkeypatch.setattr(replies, "POLL_SECONDS", 0.02)
    reply = live.write(await begin(draft))
    reading = asyncio.create_task(last_of(replies.follow_stored(reply.begun.reply.pk, 0)))
    await until(lambda: len(asked) > 4)

    ollama.release()

    assert isinstance(await reading, End)


async def test_a_reply_that_was_stopped_as_the_model_failed_is_stopped(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(then="die", hold_after=0)
    reply = live.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    await Message.objects.filter(pk=reply.begun.reply.pk).aupdate(status="stopped")
    ollama.release()

    events = [event async for event in reply.follow(0)]

    assert isinstance(events[-1], End)
    assert events[-1].status == "stopped" == (await stored(draft)).status


async def test_readers_of_a_silent_reply_hear_that_it_lives(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["Hm"], hold_after=0)
    for module in (live, replies):
        monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(replies, "POLL_SECONDS", 0.02)
    reply = live.write(await begin(draft))

    for events in (reply.follow(0), replies.follow_stored(reply.begun.reply.pk, 0)):
        began = time.monotonic()
        assert [type(await anext(events)) for _ in range(3)] == [Start, Beat, Beat]
        assert 0.15 < time.monotonic() - began < 2
    ollama.release()
    await reply.task


async def test_a_slow_reader_gets_bigger_pieces(draft: Draft, ollama: ScriptedOllama) -> None:
    ollama.script = Script([f"{number} " for number in range(100)])
    reply = live.write(await begin(draft))
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

    await live.write(await begin(draft)).task

    after = await Thread.objects.aget(pk=draft.thread_id)
    assert (after.title, after.updated_at) == (before.title, before.updated_at)


async def test_a_reply_of_this_process_lives_however_long_its_database_was_away(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reply = live.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    row = Message.objects.filter(pk=reply.begun.reply.pk)
    long_ago = timezone.now() - timedelta(minutes=1)
    await row.aupdate(heartbeat_at=long_ago)

    assert await in_background(writers, row.settle)

    ollama.release()
    await reply.task
    assert (await stored(draft)).status == "complete"
    await row.aupdate(status="generating", heartbeat_at=long_ago)
    assert not await in_background(writers, row.settle)  # nobody writes this one any more


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
    events = replies.follow((await stored(draft)).pk)
    assert isinstance(await anext(events), Start)

    await Thread.objects.filter(pk=draft.thread_id).adelete()

    (last,) = [event async for event in events]
    assert isinstance(last, End)
    assert last.status == "stopped"


async def test_who_asks_a_moment_late_hears_why_the_model_failed(
    draft: Draft, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500, error="out of memory")
    reply = live.write(await begin(draft))
    await reply.task

    last = await last_of(replies.follow(reply.begun.reply.pk))

    assert isinstance(last, Failure)
    assert "out of memory" in last.error.message


async def test_a_finished_reply_is_forgotten(draft: Draft) -> None:
    reply = live.write(await begin(draft))
    await reply.task
    gone: weakref.ref[LiveReply] = weakref.ref(reply)

    del reply
    await asyncio.sleep(0.1)  # the checkpoints end
    gc.collect()

    assert gone() is None
    assert live.replies == {}


class TestHealth:
    async def test_whoever_doubts_asks_one_question_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        async def version() -> str:
            asked.append(1)
            await asyncio.sleep(0.05)
            return "0.12.0"

        monkeypatch.setattr(llm, "version", version)
        llm.health.is_doubted = True
        calls = [asyncio.create_task(llm.health.check()) for _ in range(10)]
        await asyncio.sleep(0.01)

        calls[0].cancel()  # whoever asked first may leave

        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[1:] == [None] * 9
        assert len(asked) == 1
        await llm.health.check()
        assert len(asked) == 1

    async def test_a_call_that_failed_raises_a_doubt(
        self, draft: Draft, ollama: ScriptedOllama
    ) -> None:
        ollama.stop()
        with pytest.raises(llm.ModelUnavailable):
            await llm.chat("llama3.2", [], {}, lambda text, thinking: None)
        assert llm.health.is_doubted

        ollama.start()
        await llm.health.check()
        assert not llm.health.is_doubted

    async def test_while_there_is_no_answer_calls_fail_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        async def version() -> str:
            asked.append(1)
            raise llm.ModelUnavailable

        monkeypatch.setattr(llm, "version", version)
        monkeypatch.setattr(llm, "FAIL_FAST_SECONDS", 0.1)
        llm.health.is_doubted = True
        for _ in range(5):
            with pytest.raises(llm.ModelUnavailable):
                await llm.health.check()
        assert len(asked) == 1

        await asyncio.sleep(0.15)
        with pytest.raises(llm.ModelUnavailable):
            await llm.health.check()
        assert len(asked) == 2

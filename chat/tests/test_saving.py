"""Checkpoints and ends that the database does not take at first, or at all."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone
from pytest_django import Settings

from chat import usage
from chat.models import Message
from chat.ollama.placement import place
from chat.replies import live, store
from chat.replies.drafts import Draft
from chat.replies.events import Cursor, End, Failure
from chat.replies.owner import NOBODY
from chat.replies.registry import Registry
from chat.replies.store import Outcome, StartedReply
from chat.replies.takeover import find_orphans
from chat.tests.in_process import WINDOW, begin, stored, text_of, until
from core.database import in_background, writers
from testing.outages import database_is_locked, database_is_read_only
from testing.processes import free_port
from testing.scripted_ollama import Script, ScriptedOllama


@pytest.mark.parametrize("problem", [database_is_locked(), database_is_read_only()], ids=str)
async def test_an_end_that_cannot_be_stored_is_stored_later(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, problem: DatabaseError, registry: Registry
) -> None:
    saves, asked = store.save_outcome, []

    def save_outcome(*args: Any) -> None:
        asked.append(args)
        if len(asked) < 3:
            raise problem
        saves(*args)

    monkeypatch.setattr(store, "save_outcome", save_outcome)
    monkeypatch.setattr(live, "SAVE_RETRY_SECONDS", 0.01)

    events = [event async for event in registry.write(await begin(draft)).follow(Cursor(0))]

    assert len(asked) == 3
    assert text_of(events) == "You said: Hello"
    assert isinstance(events[-1], End)
    assert ((await stored(draft)).status, (await stored(draft)).content) == (
        "complete",
        "You said: Hello",
    )


async def test_a_reply_goes_on_at_another_host_though_the_database_is_locked(
    draft: Draft,
    ollama: ScriptedOllama,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    registry: Registry,
) -> None:
    add, asked = usage.add, []

    def locked_at_first(*args: Any) -> None:
        asked.append(args)
        if len(asked) == 1:
            raise database_is_locked()
        add(*args)

    monkeypatch.setattr(usage, "add", locked_at_first)
    with ScriptedOllama(free_port()) as other:
        hosts = {ollama.url: ollama, other.url: other}
        settings.OLLAMA_HOST = ",".join(hosts)
        home = hosts.pop(place(str(draft.thread_id), list(hosts), {}, 0) or "")
        home.script = Script(["one "], then="die")
        (healthy,) = hosts.values()
        healthy.script = Script(["one ", "two "])

        reply = registry.write(await begin(draft))
        events = [event async for event in reply.follow(Cursor(0))]

    assert text_of(events) == "one two "
    assert isinstance(events[-1], End)
    assert len(asked) == 2


async def test_the_first_news_of_a_reply_that_was_taken_over_is_stored_at_once(
    draft: Draft, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setattr("chat.replies.registry.CHECKPOINT_SECONDS", 60)
    ollama.script = Script(["one ", "two "], hold_after=1)
    orphan = (await begin(draft)).reply
    await Message.objects.filter(pk=orphan.pk).aupdate(takeovers=2, owner=NOBODY)
    await orphan.arefresh_from_db()
    started = await in_background(writers, store.take_over, orphan, WINDOW)
    assert started

    reply = registry.write(started)
    async with asyncio.timeout(5):
        while (await stored(draft)).content != "one ":  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert (await stored(draft)).takeovers == 0
    ollama.release()
    await reply.task


@pytest.mark.parametrize("problem", [database_is_locked(), ValueError("a mistake")])
async def test_checkpoints_outlive_one_that_failed(
    draft: Draft,
    ollama: ScriptedOllama,
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
    registry: Registry,
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    checkpoints, asked = store.save_checkpoint, []

    def checkpoint(*args: Any) -> Any:
        asked.append(args)
        if len(asked) < 3:
            raise problem
        return checkpoints(*args)

    monkeypatch.setattr(store, "save_checkpoint", checkpoint)
    reply = registry.write(await begin(draft))
    await until(lambda: len(asked) > 4)

    assert (await stored(draft)).content == "one "
    ollama.release()
    await reply.task
    assert (await stored(draft)).status == "complete"


async def heartbeats(draft: Draft, number: int) -> None:
    """Wait for this number of heartbeats of the draft's reply."""
    for _ in range(number):
        before = (await stored(draft)).heartbeat_at
        async with asyncio.timeout(5):
            while (await stored(draft)).heartbeat_at == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_text_that_has_not_changed_is_not_written_again(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reply = registry.write(await begin(draft))
    async with asyncio.timeout(5):
        while (await stored(draft)).content != "one ":  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await Message.objects.filter(pk=reply.started.reply.pk).aupdate(content="something else")
    await heartbeats(draft, 3)

    assert (await stored(draft)).content == "something else"
    ollama.release()
    await reply.task
    assert (await stored(draft)).content == "one two "


async def test_heartbeats_go_by_the_databases_clock(
    draft: Draft, ollama: ScriptedOllama, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.script = Script(["one "], hold_after=0)
    wrong = timezone.now() - timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: wrong)

    reply = registry.write(await begin(draft))
    await heartbeats(draft, 2)

    row = await stored(draft)
    assert row.created_at == wrong
    assert row.heartbeat_at
    assert abs(datetime.now(UTC) - row.heartbeat_at) < timedelta(seconds=10)
    assert not await in_background(writers, find_orphans, Q(pk=row.pk))
    ollama.release()
    await reply.task


async def test_an_end_that_can_never_be_stored_leaves_its_text(
    draft: Draft, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    saves = store.save_outcome

    def save_outcome(started: StartedReply, text: str, thinking: str, outcome: Outcome) -> None:
        if outcome.stats:
            raise OverflowError
        saves(started, text, thinking, outcome)

    monkeypatch.setattr(store, "save_outcome", save_outcome)

    events = [event async for event in registry.write(await begin(draft)).follow(Cursor(0))]

    assert isinstance(events[-1], Failure)
    assert events[-1].error.code == "reply_interrupted"
    reply = await stored(draft)
    assert (reply.status, reply.content) == ("interrupted", "You said: Hello")


async def test_a_reply_of_this_process_lives_however_long_its_database_was_away(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reply = registry.write(await begin(draft))
    await until(lambda: ollama.chats and ollama.chats[0].held)
    this = Q(pk=reply.started.reply.pk)
    row = Message.objects.filter(this)
    long_ago = timezone.now() - timedelta(minutes=1)
    await row.aupdate(heartbeat_at=long_ago)

    assert not await in_background(writers, find_orphans, this)

    ollama.release()
    await reply.task
    assert (await stored(draft)).status == "complete"
    await row.aupdate(status="generating", heartbeat_at=long_ago)
    assert await in_background(writers, find_orphans, this)  # nobody writes it any more

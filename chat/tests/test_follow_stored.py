"""Replies that are followed by their rows, because another process writes them."""

import asyncio
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from chat.models import Message, MessageStatus, Sender, Thread
from chat.replies import follow
from chat.replies.drafts import Draft
from chat.replies.events import Cursor, End, Failure, Start
from chat.replies.registry import Registry
from chat.tests.in_process import begin, last_of, stored, until
from testing.outages import database_is_locked, database_is_read_only
from testing.scripted_ollama import Script, ScriptedOllama


@pytest.mark.parametrize("problem", [database_is_locked(), database_is_read_only()], ids=str)
async def test_a_follower_waits_while_the_database_cannot_serve(
    draft: Draft,
    ollama: ScriptedOllama,
    monkeypatch: pytest.MonkeyPatch,
    problem: DatabaseError,
    registry: Registry,
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    reads, asked = follow.read, []

    def read(*args: Any, **kwargs: Any) -> Message | None:
        asked.append(args)
        if 1 < len(asked) < 4:
            raise problem
        return reads(*args, **kwargs)

    monkeypatch.setattr(follow, "read", read)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    elsewhere = Registry()
    reply = elsewhere.write(await begin(draft))
    reading = asyncio.create_task(last_of(follow.follow_stored(reply.started.reply.pk, Cursor(0))))
    await until(lambda: len(asked) > 4)

    ollama.release()

    assert isinstance(await reading, End)


async def test_a_follower_of_a_reply_whose_thread_is_deleted_sees_it_stopped(
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


async def test_a_follower_who_comes_a_moment_late_hears_why_the_model_failed(
    draft: Draft, ollama: ScriptedOllama, registry: Registry
) -> None:
    ollama.script = Script(status=500, error="out of memory")
    reply = registry.write(await begin(draft))
    await reply.task

    last = await last_of(follow.follow(reply.started.reply.pk))

    assert isinstance(last, Failure)
    assert "out of memory" in last.error.message

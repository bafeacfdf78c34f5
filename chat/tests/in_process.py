"""Replies that the test's own process writes."""

import asyncio
from collections.abc import AsyncIterator, Callable

from chat.models import Message, Sender, Thread
from chat.replies import actions
from chat.replies.drafts import Draft
from chat.replies.events import Delta, Event
from chat.replies.store import StartedReply
from core.database import in_background, writers

WINDOW = 4096


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


async def last_of(events: AsyncIterator[Event]) -> Event:
    return [event async for event in events][-1]

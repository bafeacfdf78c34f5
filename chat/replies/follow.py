"""Reading along with a reply, whichever process writes it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from django.db import OperationalError
from django.db.models.functions import Now

from chat.models import Message, MessageStatus, Thread
from chat.ollama.errors import ModelUnavailable
from chat.replies import lifecycle, live
from chat.replies.events import Cursor, Event, Failure, KeepAlive, Start, last_event
from chat.replies.live import FOLLOWED_SECONDS, KEEP_ALIVE_SECONDS, ServerShuttingDown
from chat.replies.orphans import interrupt_orphans, is_orphaned
from core.database import in_database
from core.errors import NotFound

POLL_SECONDS = 0.5

logger = logging.getLogger(__name__)


def follow(reply_id: int, offset: int = 0) -> AsyncIterator[Event]:
    """Yield what happens to a reply, its text from `offset` on."""
    if reply := live.registry.replies.get(reply_id):
        return reply.follow(offset)
    return follow_stored(reply_id, offset)


async def follow_stored(reply_id: int, offset: int) -> AsyncIterator[Event]:
    """Yield what happens to a reply that this process does not write, from its row.

    Raises `ServerShuttingDown` where it is to be followed in another process from now on.
    """
    cursor = Cursor(offset)
    reply: Message | None = None
    heard_at, noted_at = time.monotonic(), 0.0
    while True:
        now = time.monotonic()
        notes_reader = now - noted_at > FOLLOWED_SECONDS
        noted_at = now if notes_reader else noted_at
        before = reply
        try:
            reply = await in_database(read, reply_id, note_reader=notes_reader)
        except OperationalError:
            if before is None:
                raise
            # Whoever has begun to read waits until the database is back.
            logger.exception("Reply %s could not be read", reply_id)
            await asyncio.sleep(POLL_SECONDS)
            continue
        if reply is None:
            yield await last_event_without_row(reply_id, before)
            return
        if before is None:
            yield Start.of(reply)
            cursor.skip_thinking(reply.thinking)
        while event := cursor.advance(reply.content, reply.thinking):
            yield event
            heard_at = now
        if not lifecycle.has_unsaved_text(reply):
            yield last_event(reply)
            return
        if live.registry.is_closed:
            raise ServerShuttingDown
        if now - heard_at > KEEP_ALIVE_SECONDS:
            yield KeepAlive()
            heard_at = now
        await asyncio.sleep(POLL_SECONDS)


def read(reply_id: int, *, note_reader: bool) -> Message | None:
    """Return a reply as it is stored, interrupted if its process is dead; blocks on the database.

    `note_reader` lets the process that writes it know that somebody reads along.
    """
    rows = Message.objects.with_silence().filter(pk=reply_id)
    reply = rows.first()
    if reply and reply.status == MessageStatus.GENERATING:
        if is_orphaned(reply):
            interrupt_orphans(rows)
            return rows.first()
        if note_reader:
            rows.update(followed_at=Now())
    return reply


async def last_event_without_row(reply_id: int, before: Message | None) -> Event:
    """Return the last event of a reply that is gone; `before` is its row, if it was seen."""
    if before and not await Thread.objects.filter(pk=before.thread_id).aexists():
        before.status = MessageStatus.STOPPED
        return last_event(before)
    # It failed before its first word; why, only the process that wrote it knows.
    return live.registry.failures.get(reply_id) or Failure(ModelUnavailable())


async def wait(reply_id: int) -> Message:
    """Return a reply when it has ended. Raises its `ApiError` where it failed.

    `NotFound` where it was deleted meanwhile.
    """
    async for event in follow(reply_id):
        if isinstance(event, Failure):
            raise event.error
    reply = await Message.objects.visible().filter(pk=reply_id).afirst()
    if reply is None:
        raise NotFound
    return reply

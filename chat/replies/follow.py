"""Reading along with a reply, whichever process writes it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from django.db import DatabaseError

from chat.models import Message, MessageStatus, Thread
from chat.ollama.errors import ModelUnavailable
from chat.replies import lifecycle, registry
from chat.replies.events import Cursor, End, Event, Failure, KeepAlive, last_event
from chat.replies.live import KEEP_ALIVE_SECONDS
from chat.replies.positions import positions
from chat.replies.readers import (
    FOLLOWED_SECONDS,
    has_reader_left,
    note_reader,
    note_reader_left,
)
from chat.replies.takeover import is_orphaned, rescue_one
from core.database import followers, in_background, in_database, outage
from core.errors import NotFound, ServerShuttingDown

POLL_SECONDS = 0.55  # under two reads a second, with the check of the logins

logger = logging.getLogger(__name__)


async def follow(reply_id: int, offset: int = 0) -> AsyncIterator[Event]:
    """Yield what happens to a reply, its text from `offset` on, whichever process writes it.

    Raises `ServerShuttingDown` where it is to be followed in another process from now on.
    """
    cursor = Cursor(offset)
    while True:
        reply = registry.current.replies.get(reply_id)
        events = reply.follow(cursor) if reply else follow_stored(reply_id, cursor)
        async for event in events:
            yield event
            if isinstance(event, End | Failure):
                return
        if registry.current.is_closed:
            raise ServerShuttingDown


async def follow_stored(reply_id: int, cursor: Cursor) -> AsyncIterator[Event]:
    """Yield what happens to a reply from the cursor on, read off its row.

    To its end, or until this process writes it or ends itself.
    """
    reply: Message | None = None
    heard_at, noted_at = time.monotonic(), 0.0
    try:
        while not registry.current.is_closed and reply_id not in registry.current.replies:
            now = time.monotonic()
            notes_reader = now - noted_at > FOLLOWED_SECONDS
            noted_at = now if notes_reader else noted_at
            before = reply
            try:
                reply = await in_background(followers, read, reply_id, notes_reader=notes_reader)
            except DatabaseError as error:
                if before is None or not outage(error):
                    raise
                # A reader that has started waits until the database is back.
                logger.error("Reply %s could not be read", reply_id)
                await asyncio.sleep(POLL_SECONDS)
                continue
            if reply is None:
                yield await last_event_without_row(reply_id, before)
                return
            if start := cursor.start(reply, reply.thinking):
                yield start
            if queued := cursor.queued(reply.position):
                yield queued
                heard_at = now
            while event := cursor.advance(reply.content, reply.thinking, reply.rewind_offset):
                yield event
                heard_at = now
            if not lifecycle.has_unsaved_text(reply):
                yield last_event(reply)
                return
            if reply.status == MessageStatus.GENERATING and is_orphaned(reply):
                await rescue_one(reply)
                if reply_id in registry.current.replies:
                    return
            if now - heard_at > KEEP_ALIVE_SECONDS:
                yield KeepAlive()
                heard_at = now
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if reply and reply.status == MessageStatus.GENERATING:
            # Not waited for: this is the end of a request whose client may be gone.
            task = asyncio.ensure_future(in_background(followers, note_reader_left, reply_id))
            registry.current.keep(task)


def read(reply_id: int, *, notes_reader: bool) -> Message | None:
    """Return a reply as it is stored; blocks on the database.

    `notes_reader` lets the process that writes it know that somebody reads along; so it is where
    another reader has just left.
    """
    reply = Message.objects.with_silence().filter(pk=reply_id).first()
    is_running = reply is not None and reply.status == MessageStatus.GENERATING
    if reply and is_running:
        if notes_reader or has_reader_left(reply):
            note_reader(reply_id)
        positions.add_to([reply])
    return reply


async def last_event_without_row(reply_id: int, before: Message | None) -> Event:
    """Return the last event of a reply that is gone; `before` is its row, if it was seen."""
    if before and not await in_database(Thread.objects.filter(pk=before.thread_id).exists):
        before.status = MessageStatus.STOPPED
        return last_event(before)
    # It failed before its first word; why, only the process that wrote it knows.
    return registry.current.failures.get(reply_id) or Failure(ModelUnavailable(), reply_kept=False)


async def wait(reply_id: int) -> Message:
    """Return a reply when it has ended. Raises its `ApiError` where it failed.

    `NotFound` where it was deleted meanwhile.
    """
    async for event in follow(reply_id):
        if isinstance(event, Failure):
            raise event.error
    reply = await in_database(Message.objects.visible().filter(pk=reply_id).first)
    if reply is None:
        raise NotFound
    return reply

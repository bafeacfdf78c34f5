"""Replies, wherever they are written: sending a message, following its reply, stopping it."""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet

from chat import journal, live, llm, titles
from chat.context import estimate, require_fit
from chat.database import in_background, in_database, writers
from chat.events import Beat, Delta, Event, Failure, Start, Thought, last_event
from chat.journal import Draft
from chat.live import BEAT_SECONDS, FOLLOWED_SECONDS, ServerEnds
from chat.models import Message, Status, Thread
from llama_chatbot.errors import NotFound

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STOP_POLL_SECONDS = 0.1
LETTERS_IN_A_TOKEN_AT_MOST = 8


async def send(draft: Draft, thread: Thread) -> int:
    """Store a message and have the model answer it; return the reply's id.

    Raises `ModelError` where the model cannot be reached, and what `journal.begin` raises.
    """
    if live.is_draining():
        raise ServerEnds
    window = min(await llm.context_length(thread.model), settings.CHAT_CONTEXT_WINDOW_MAX)
    if len(draft.text) > LETTERS_IN_A_TOKEN_AT_MOST * window:
        # Before the transaction, which would hold up all others while a megabyte is sized.
        await in_database(lambda: require_fit(thread, estimate(draft.text), window))
    # A task of its own: when the client leaves at this moment, the reply that was stored must be
    # written all the same. And a context of its own, since the reply outlives the request's.
    context = contextvars.Context()
    return await asyncio.shield(asyncio.create_task(_begin(draft, thread, window), context=context))


async def _begin(draft: Draft, thread: Thread, window: int) -> int:
    begun = await in_background(writers, journal.begin, draft, thread, window)
    if isinstance(begun, int):
        return begun
    titles.write_after(live.write(begun))
    return begun.reply.pk


def follow(reply_id: int, offset: int = 0) -> AsyncIterator[Event]:
    """Yield what happens to a reply, its text from `offset` on, whichever process writes it."""
    if reply_id in live.replies:
        return live.replies[reply_id].follow(offset)
    return follow_stored(reply_id, offset)


async def follow_stored(reply_id: int, offset: int) -> AsyncIterator[Event]:
    """Yield what happens to a reply that this process does not write, from its row.

    Raises `ServerEnds` where it is to be followed in another process from now on.
    """
    thought = 0
    reply = None
    heard_at, told_at = time.monotonic(), 0.0
    while True:
        now = time.monotonic()
        tells = now - told_at > FOLLOWED_SECONDS
        told_at = now if tells else told_at
        was_new = reply is None
        before = reply
        try:
            reply = await in_database(journal.read, reply_id, following=tells)
        except OperationalError:
            if was_new:
                raise
            # Whoever has begun to read waits until the database is back.
            logger.exception("Reply %s could not be read", reply_id)
            await asyncio.sleep(POLL_SECONDS)
            continue
        if reply is None:
            yield await what_became_of(reply_id, before)
            return
        if was_new:
            yield Start.of(reply)
            thought = len(reply.thinking) if offset else 0  # it comes before the text
        if len(reply.thinking) > thought:
            piece, thought = reply.thinking[thought:], len(reply.thinking)
            yield Thought(piece, thought)
        if len(reply.content) > offset:
            piece, offset = reply.content[offset:], len(reply.content)
            yield Delta(piece, offset)
            heard_at = now
        if not reply.may_grow:
            yield last_event(reply)
            return
        if live.is_over():
            raise ServerEnds
        if now - heard_at > BEAT_SECONDS:
            yield Beat()
            heard_at = now
        await asyncio.sleep(POLL_SECONDS)


async def what_became_of(reply_id: int, before: Message | None) -> Event:
    """Return the last event of a reply that is gone; `before` is its row, if it was seen."""
    if before and not await Thread.objects.filter(pk=before.thread_id).aexists():
        before.status = Status.STOPPED
        return last_event(before)
    # It failed before its first word; of another process, nobody here knows why.
    return live.failures.get(reply_id) or Failure(llm.ModelUnavailable())


def stop(which: Q) -> list[int]:
    """Stop the running replies among `which` messages, in whatever process; return their ids.

    Sync, and callable from any thread. A reply of this process ends at once.
    """
    ids = journal.stop(which)
    for reply_id in ids:
        if reply := live.replies.get(reply_id):
            reply.loop.call_soon_threadsafe(reply.end, Status.STOPPED)
    return ids


async def stop_and_wait(which: Q) -> bool:
    """Stop the running replies among `which` and wait until their whole text is stored.

    Return whether there were any.
    """
    ids = await in_database(stop, which)
    tasks = [live.replies[reply_id].task for reply_id in ids if reply_id in live.replies]
    if tasks:
        await asyncio.wait(tasks)
    while await in_database(journal.may_grow, ids):  # noqa: ASYNC110 - by another process
        await asyncio.sleep(STOP_POLL_SECONDS)
    return bool(ids)


async def wait(reply_id: int) -> Message:
    """Return a reply when it has ended. Raises its `ApiError` where it failed.

    `NotFound` where it was deleted meanwhile.
    """
    async for event in follow(reply_id):
        if isinstance(event, Failure):
            raise event.error
    reply = await Message.objects.filter(pk=reply_id).afirst()
    if reply is None:
        raise NotFound
    return reply


def delete_threads(threads: QuerySet[Thread]) -> int:
    """Delete threads, ending their running replies; return how many there were."""
    with transaction.atomic():
        # Locked, so that no message is added to what has been collected for deletion.
        locked = threads.select_for_update().order_by("pk")
        ids = list(locked.values_list("pk", flat=True))
        stop(Q(thread__in=ids))
        _, counts = Thread.objects.filter(pk__in=ids).delete()
    return counts.get(Thread._meta.label, 0)

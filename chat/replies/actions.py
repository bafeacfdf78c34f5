"""Sending a message and stopping its reply, wherever the reply is written."""

import asyncio
import contextvars

from django.db import IntegrityError, transaction
from django.db.models import Q

from chat import statements
from chat.models import Message, MessageStatus, Thread
from chat.ollama import client
from chat.ollama.continuation import can_continue
from chat.ollama.errors import CannotContinue
from chat.prompt.estimate import estimate
from chat.prompt.window import require_fit
from chat.replies import lifecycle, log, readers, registry, store, titles
from chat.replies.drafts import Draft, Regeneration
from chat.replies.store import BranchMoved, ReplyInProgress, StartedReply
from chat.replies.takeover import find_stopped_orphans, rescue
from core.database import in_background, in_database, writers
from core.errors import ServerShuttingDown

STOP_POLL_SECONDS = 0.1
START_TRIES = 10  # against others who send to the same thread at the same moment
MOST_LETTERS_IN_A_TOKEN = 8


async def send(draft: Draft | Regeneration, thread: Thread) -> int:
    """Store what a user sends and have the model answer it; return the reply's id.

    Raises `ModelError` where the model cannot be reached, and what `start` raises.
    """
    if registry.current.is_closed:
        raise ServerShuttingDown
    seen = draft.parameters.applied_to(thread)
    window = await client.window(seen.model)
    if isinstance(draft, Draft) and len(draft.text) > MOST_LETTERS_IN_A_TOKEN * window:
        # Before the transaction, which would hold up all others while a megabyte is sized.
        await in_database(lambda: require_fit(seen, estimate(draft.text), window))
    try:
        return await _start_shielded(draft, thread, window)
    except ReplyInProgress:
        if not await _stop_abandoned(thread):
            raise
    return await _start_shielded(draft, thread, window)


async def _start_shielded(draft: Draft | Regeneration, thread: Thread, window: int) -> int:
    # A task of its own: when the client leaves at this moment, the reply that was stored must
    # still be written. And a context of its own, since the reply outlives the request's.
    context = contextvars.Context()
    task = asyncio.create_task(_start_and_write(draft, thread, window), context=context)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_leave_unread)
        raise


def _leave_unread(task: "asyncio.Task[int]") -> None:
    """Record that a reply that was just started has already lost its reader."""
    if not task.cancelled() and not task.exception():
        reply = registry.current.replies.get(task.result())
        if reply and not reply.readers:
            reply.note_nobody_reads()


async def _stop_abandoned(thread: Thread) -> bool:
    """Stop a thread's running reply if nobody reads it any more; return whether that is so.

    A front end may stop a reply by no more than leaving it, and then send the next message.
    """
    reply_id = await in_database(readers.find_abandoned, thread.pk)
    if reply_id is None:
        return False
    await stop_and_wait(Q(pk=reply_id))
    return True


async def _start_and_write(draft: Draft | Regeneration, thread: Thread, window: int) -> int:
    try:
        started = await in_background(writers, start, draft, thread, window)
    except ReplyInProgress:
        # The process that wrote the thread's reply may have died: then it is carried on, or ended.
        await rescue(Q(thread=thread.pk))
        started = await in_background(writers, start, draft, thread, window)
    if isinstance(started, int):
        return started
    titles.write_after(registry.current.write(started))
    return started.reply.pk


async def continue_reply(reply: Message) -> None:
    """Have a reply that was cut short go on from its last character.

    Raises `ModelError` where the model cannot be reached, `CannotContinue` where it cannot do that,
    `ReplyInProgress`, and `QuotaExceeded`.
    """
    if registry.current.is_closed:
        raise ServerShuttingDown
    # Ollama holds what it writes to a format from its first character, not from the middle.
    if reply.content and (reply.format is not None or not await can_continue(reply.model)):
        raise CannotContinue
    window = await client.window(reply.model)
    await asyncio.shield(
        asyncio.create_task(_continue(reply, window), context=contextvars.Context())
    )


async def _continue(reply: Message, window: int) -> None:
    try:
        started = await in_background(writers, store.continue_reply, reply, window)
    except IntegrityError:
        raise ReplyInProgress from None
    registry.current.write(started)


def start(draft: Draft | Regeneration, thread: Thread, window: int) -> StartedReply | int:
    """Store what a user sends and the reply to it; blocks on the database.

    Where the draft's key has just started a reply, return that one's id. Raises `ReplyInProgress`
    where the thread has a running reply, and what `store.start` raises.
    """
    for _ in range(START_TRIES):
        try:
            return store.start(draft, thread, window)
        except BranchMoved:
            thread = statements.get_thread(draft.user, draft.thread_id)
        except (ReplyInProgress, IntegrityError):
            # Somebody else was faster, with the same key or in the same thread.
            if reply_id := store.find_repeated(draft):
                return reply_id
            break
    raise ReplyInProgress


def stop(which: Q) -> list[int]:
    """Stop the running replies among `which` messages, in whatever process; return their ids.

    Blocks on the database, and may be called from any thread. A reply of this process ends at once.
    """
    with transaction.atomic():
        ids = lifecycle.stop(which)
    elsewhere = []
    for reply_id in ids:
        if reply := registry.current.replies.get(reply_id):
            reply.loop.call_soon_threadsafe(reply.cut_short, MessageStatus.STOPPED)
        else:
            elsewhere.append(reply_id)
    for orphan in find_stopped_orphans(elsewhere):
        log.write_orphan(orphan, MessageStatus.STOPPED)
    return ids


async def stop_and_wait(which: Q) -> bool:
    """Stop the running replies among `which` and wait until their whole text is stored.

    Return whether there were any.
    """
    ids = await in_database(stop, which)
    running = registry.current.replies
    tasks = [running[reply_id].task for reply_id in ids if reply_id in running]
    if tasks:
        await asyncio.wait(tasks)
    while await in_database(store.has_unsaved_text, ids):  # noqa: ASYNC110 - by another process
        await asyncio.sleep(STOP_POLL_SECONDS)
    return bool(ids)

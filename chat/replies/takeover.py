"""Carries on the replies whose process has died or ended.

Whoever finds one takes it over: a reader, a sender, or the sweep that each process makes.
"""

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import Q

from chat.models import Message, MessageStatus
from chat.ollama import client
from chat.ollama.continuation import can_continue
from chat.ollama.errors import ModelError
from chat.replies import lifecycle, log, registry, store, titles
from chat.replies.lifecycle import silence_of
from chat.replies.owner import NOBODY, may_be_alive, this_process
from core import metrics
from core.database import in_background, writers

SWEEP_SECONDS = 2.0
UNWRITTEN_AFTER = timedelta(seconds=3)  # by this process itself, which may wait for the database
STALE_AFTER = timedelta(seconds=7)  # without a heartbeat, where the process may be there
GIVE_UP_AFTER = timedelta(seconds=60)  # on a model that cannot be asked whether it can go on
MOST_TAKEOVERS = 3  # in a row, without a new character stored

logger = logging.getLogger(__name__)


def is_orphaned(reply: Message) -> bool:
    """Return whether a generating reply's process is dead, as far as can be seen from here.

    `reply` was read `with_silence`.
    """
    if reply.owner == this_process():
        is_written = reply.pk in registry.current.replies
        return silence_of(reply) > UNWRITTEN_AFTER and not is_written
    return not may_be_alive(reply.owner) or silence_of(reply) > STALE_AFTER


async def rescue(which: Q) -> None:
    """Take over the orphans among `which` messages; those that nobody can carry on are ended."""
    found = await in_background(writers, find_orphans, which)
    await asyncio.gather(*map(rescue_one, found))


def find_orphans(which: Q) -> list[Message]:
    """Return the orphaned replies among `which` messages; blocks on the database."""
    running = Message.objects.generating().filter(which).with_silence()
    return [reply for reply in running.defer("thinking") if is_orphaned(reply)]


def find_stopped_orphans(ids: Sequence[int]) -> list[Message]:
    """Return those of these stopped replies that no process stores the last words of."""
    if not ids:
        return []
    stopped = Message.objects.filter(pk__in=ids).exclude(heartbeat_at=None).with_silence()
    return [
        reply
        for reply in stopped.defer("content", "thinking")
        if not may_be_alive(reply.owner) or not lifecycle.has_unsaved_text(reply)
    ]


async def rescue_one(orphan: Message) -> None:
    """Take over an orphan, or end it where nobody can carry it on; once at a time."""
    rescues = registry.current.rescues
    if orphan.pk not in rescues:
        # A context of its own: what is begun here outlives the request that found it.
        task = asyncio.create_task(_rescue(orphan), context=contextvars.Context())
        rescues[orphan.pk] = task
        task.add_done_callback(lambda _: rescues.pop(orphan.pk, None))
    await asyncio.shield(rescues[orphan.pk])


async def _rescue(orphan: Message) -> None:
    if registry.current.is_draining:
        return
    try:
        can_go_on = settings.CHAT_CARRY_ON and orphan.takeovers < MOST_TAKEOVERS
        if can_go_on and orphan.content:
            can_go_on = orphan.format is None and await can_continue(orphan.model)
        window = await client.window(orphan.model) if can_go_on else 0
    except ModelError as error:
        if silence_of(orphan) < GIVE_UP_AFTER:
            logger.warning("Reply %s cannot be carried on yet: %s", orphan.pk, error)
            return  # the next sweep tries again
        can_go_on = False
    if not can_go_on:
        if await in_background(writers, lifecycle.interrupt, orphan):
            log.write_orphan(orphan, MessageStatus.INTERRUPTED)
        return
    started = await in_background(writers, store.take_over, orphan, window)
    if started:
        logger.info("Reply %s is carried on from character %s", orphan.pk, len(orphan.content))
        registry.current.write(started)
        metrics.takeovers.inc()


async def sweep_forever() -> None:
    """Look for orphans and their titles, until cancelled."""
    while True:
        try:
            await rescue(Q(owner=NOBODY) | ~Q(owner=this_process()))
            await titles.carry_on()
        except DatabaseError as error:
            logger.error("Orphaned replies could not be looked for: %s", error)
        except Exception:
            # A bug must not end the sweep, or orphans would generate forever.
            logger.exception("The sweep for orphaned replies failed")
        await asyncio.sleep(SWEEP_SECONDS)

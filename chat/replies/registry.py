"""The replies that this process writes, their checkpoints, and their end with the process.

What they have written is stored about once a second together with a heartbeat, so that a crash
loses a second of it, and every process can see which replies are still being written.
"""

import asyncio
import contextvars
import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError

from chat.models import MessageStatus
from chat.replies import store, workers
from chat.replies.events import Event
from chat.replies.live import LiveReply
from chat.replies.queue import Queue
from chat.replies.store import StartedReply
from core import metrics
from core.database import heartbeats, in_background, writers

CHECKPOINT_SECONDS = 0.75  # so that a Stop from elsewhere is seen within a second
FAILURE_SECONDS = 10.0  # in which whoever sent the message asks why the reply failed
SETTLE_SECONDS = 0.3  # for requests that have reached the process, which takes no more of them
LONE_GRACE_SECONDS = 5.0  # for replies to end in, where no other process carries them on
SAVE_SECONDS = 10.0  # in which the last replies are stored before the process ends

logger = logging.getLogger(__name__)


class Registry:
    """The replies that one process writes, their checkpoints, and their end with the process."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.replies: dict[int, LiveReply] = {}  # by id
        # Calls for a reader each, of which nothing is stored, so that no process can carry them on.
        self.unstored: set[asyncio.Task[Any]] = set()
        self.failures: dict[int, Event] = {}  # by id: a failure may leave no row to read it from
        # No reply begins; the process ends as soon as its last connection does.
        self.is_closed = False
        self.rescues: dict[int, asyncio.Task[None]] = {}  # of orphans, by the reply's id
        self._tasks: set[asyncio.Task[Any]] = set()
        self._checkpoints: asyncio.Task[None] | None = None
        self._checkpoint_soon = asyncio.Event()
        self._drained: asyncio.Task[None] | None = None

    @property
    def is_draining(self) -> bool:
        """Whether the process is about to end: replies may go on, and it looks for no others."""
        return self._drained is not None

    def write(self, started: StartedReply) -> LiveReply:
        """Begin to write a reply.

        Not to be called in a request's context: its database work would need the request's thread
        after the request has ended.
        """
        reply = self.replies[started.reply.pk] = LiveReply(
            started, self.queue, checkpoint_soon=self.checkpoint_soon, on_end=self._remove
        )
        if self.is_closed:  # it was started while the period of grace ended
            self.drain()
        if self._checkpoints is None or self._checkpoints.done():
            self._checkpoints = reply.loop.create_task(self._checkpoint())
        return reply

    def _remove(self, reply: LiveReply) -> None:
        """Forget a reply that has ended; why it failed is remembered for some seconds."""
        row = reply.started.reply
        del self.replies[row.pk]
        if row.status == MessageStatus.FAILED and reply.last_event:
            self.failures[row.pk] = reply.last_event
            reply.loop.call_later(FAILURE_SECONDS, self.failures.pop, row.pk, None)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a task that nobody waits for until it ends; the event loop does so only weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def checkpoint_soon(self) -> None:
        """Have the next checkpoint made at once."""
        self._checkpoint_soon.set()

    async def _checkpoint(self) -> None:
        """Store how far the replies are, about once a second, as long as there are any."""
        while self.replies:
            try:
                async with asyncio.timeout(CHECKPOINT_SECONDS):
                    await self._checkpoint_soon.wait()
            except TimeoutError:
                pass
            self._checkpoint_soon.clear()
            for reply in self.replies.values():
                reply.keep_alive()
            ids = list(self.replies)
            changed = [
                reply.progress
                for reply in self.replies.values()
                if reply.length != reply.saved_length
            ]
            unread_since = {
                pk: reply.unread_since
                for pk, reply in self.replies.items()
                if reply.unread_since != reply.saved_unread_since
            }
            now = time.monotonic()
            unread_for = {
                pk: None if since is None else timedelta(seconds=now - since)
                for pk, since in unread_since.items()
            }
            try:
                states = await in_background(
                    heartbeats, store.save_checkpoint, ids, changed, unread_for
                )
            except DatabaseError as error:
                logger.error("A checkpoint could not be stored: %s", error)
                continue
            except Exception:
                # A bug must not end the heartbeats, or all replies would seem orphaned.
                logger.exception("A checkpoint failed")
                continue
            metrics.checkpoint_seconds.observe(time.monotonic() - now)
            for pk, text, thinking, _ in changed:
                if pk in self.replies:
                    self.replies[pk].saved_length = len(text) + len(thinking)
            for pk, since in unread_since.items():
                if pk in self.replies:
                    self.replies[pk].saved_unread_since = since
            for pk in ids:
                if pk in self.replies:
                    self.replies[pk].react(states.get(pk))

    def drain(self) -> asyncio.Task[None]:
        """Let go of the replies before the process ends; return when that is done.

        They may go on for `CHAT_SHUTDOWN_GRACE_SECONDS`, then another process carries them on.
        """
        if self._drained is None or self._drained.done():  # one may have begun after the first time
            loop = asyncio.get_running_loop()
            self._drained = loop.create_task(self._drain(), context=contextvars.Context())
        return self._drained

    async def _drain(self) -> None:
        if not self.is_closed:
            await asyncio.sleep(SETTLE_SECONDS)
            running = [*(reply.task for reply in self.replies.values()), *self.unstored]
            if running and (grace := await self._grace_seconds()):
                await asyncio.wait(running, timeout=grace)
        self.is_closed = True
        for task in self.unstored:
            task.cancel()
        if replies := list(self.replies.values()):
            if settings.CHAT_CARRY_ON:
                await self._hand_over(replies)
            else:
                for reply in replies:
                    reply.cut_short(MessageStatus.INTERRUPTED)
            _, unsaved = await asyncio.wait([reply.task for reply in replies], timeout=SAVE_SECONDS)
            for task in unsaved:  # their readers would keep the process from ending
                task.cancel()
        await self.queue.close()

    async def _grace_seconds(self) -> float:
        """Return how long replies may go on: not at all where another process carries them on."""
        if settings.CHAT_SHUTDOWN_GRACE_SECONDS is not None:
            return float(settings.CHAT_SHUTDOWN_GRACE_SECONDS)
        try:
            is_another_alive = await in_background(writers, workers.is_another_alive)
        except DatabaseError:
            return 0.0
        return 0.0 if is_another_alive and settings.CHAT_CARRY_ON else LONE_GRACE_SECONDS

    async def _hand_over(self, replies: list[LiveReply]) -> None:
        """Store how far the replies are and let go of them, then send their readers away."""
        try:
            progress = [reply.progress for reply in replies]
            await in_background(writers, store.hand_over, progress)
        except DatabaseError as error:
            # Others will find them without a heartbeat.
            logger.error("Replies could not be handed over: %s", error)
        for reply in replies:
            reply.let_go()


current = Registry()
"""The registry of this process."""

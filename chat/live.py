"""The replies that this process writes: each a task of its own, followed by whoever reads along.

The task belongs to the process, not to a request: it goes on when its reader leaves. What it has
written is stored once a second together with a heartbeat, so that a crash loses a second of it, and
every process can see which replies still live.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from chat import journal, llm
from chat.events import Beat, Delta, Event, Start, Thought, last_event
from chat.journal import Begun, Ending, State
from chat.models import Status

CHECKPOINT_SECONDS = 1.0
FIRST_READER_SECONDS = 5.0  # in which whoever sent the message will have begun to read
FOLLOWED_SECONDS = 5.0  # how often a reader in another process says that it is there
BEAT_SECONDS = 15.0
SETTLE_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
SETTLE_SECONDS = 10.0

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function of the database off the event loop, leaving no connection in use."""

    def run() -> R:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(run)()


class LiveReply:
    """A reply that this process writes; used in the event loop's thread only."""

    def __init__(self, begun: Begun) -> None:
        self.begun = begun
        self.text = ""
        self.thinking = ""
        self.pieces = 0
        self.first_token_ms: int | None = None
        self.last_event: Event | None = None
        self.readers = 0
        self.began_at = self.heard_at = time.monotonic()
        self.left_at = self.began_at + FIRST_READER_SECONDS  # by the last reader
        self._waiters: list[asyncio.Future[bool]] = []
        self._cut_short: Status | None = None
        self._is_settling = False
        # In a context of its own: in the request's, its database work would keep the request's
        # thread and connection for as long as it runs.
        self.loop = asyncio.get_running_loop()
        self.task = self.loop.create_task(self._run(), context=contextvars.Context())

    def end(self, status: Status) -> None:
        """Cut the reply short."""
        if not self._is_settling and self._cut_short is None:
            self._cut_short = status
            self.task.cancel()

    async def follow(self, offset: int) -> AsyncIterator[Event]:
        """Yield what happens, the text from `offset` on."""
        thought = 0
        self.readers += 1
        try:
            yield Start.of(self.begun.reply)
            while True:
                # All there is by now, so that a slow reader gets bigger pieces.
                if len(self.thinking) > thought:
                    piece, thought = self.thinking[thought:], len(self.thinking)
                    yield Thought(piece, thought)
                elif len(self.text) > offset:
                    piece, offset = self.text[offset:], len(self.text)
                    yield Delta(piece, offset)
                elif self.last_event:
                    yield self.last_event
                    return
                elif await self._is_silent():
                    yield Beat()
        finally:
            self.readers -= 1
            self.left_at = time.monotonic()
            if not self.readers and settings.CHAT_ABANDONED_REPLY_SECONDS == 0:
                _checkpoint_soon.set()

    def react(self, state: State | None) -> None:
        """Act on what the database says of this reply; wake readers who long heard nothing."""
        if (
            state is None
            or state.status != Status.GENERATING
            or not state.user_is_active
            or self._is_abandoned(state.followed_at)
        ):
            self.end(Status.STOPPED)
        elif time.monotonic() - self.heard_at > BEAT_SECONDS:
            self._wake(is_news=False)

    def _is_abandoned(self, followed_at: datetime | None) -> bool:
        limit = settings.CHAT_ABANDONED_REPLY_SECONDS
        if limit is None or self.readers:
            return False
        alone_for = time.monotonic() - self.left_at
        if followed_at:
            elsewhere = (timezone.now() - followed_at).total_seconds() - 2 * FOLLOWED_SECONDS
            alone_for = min(alone_for, elsewhere)
        return alone_for > limit

    async def _is_silent(self) -> bool:
        """Wait for something to happen; tell whether it was only time that passed."""
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._waiters.append(waiter)
        return not await waiter

    def _wake(self, *, is_news: bool = True) -> None:
        self.heard_at = time.monotonic()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():  # as it is when its reader has just left
                waiter.set_result(is_news)

    def _add(self, text: str, thinking: str) -> None:
        if not self.pieces:
            self.first_token_ms = int((time.monotonic() - self.began_at) * 1000)
        self.pieces += 1
        self.text += text
        self.thinking += thinking
        self._wake()

    async def _run(self) -> None:
        reply, context = self.begun.reply, self.begun.context
        status, error, record = Status.FAILED, None, None
        try:
            options = {**self.begun.thread.options, "num_ctx": context.num_ctx}
            record = await llm.chat(reply.model, context.messages, options, self._add)
            status = Status.COMPLETE
        except asyncio.CancelledError:
            status = self._cut_short or Status.INTERRUPTED
        except llm.ModelError as model_error:
            error = model_error
        except Exception:
            # A mistake of ours must end the reply too, or its thread would generate for ever.
            logger.exception("Reply %s failed", reply.pk)
            error = llm.ModelUnavailable()
        self._is_settling = True
        ending = Ending(status, error, record, self.first_token_ms, self.pieces)
        await self._settle(ending)
        self.last_event = last_event(reply, error)
        del replies[reply.pk]
        self._wake()

    async def _settle(self, ending: Ending) -> None:
        """Store the end, however often the database has to be asked."""
        for seconds in (*SETTLE_RETRY_SECONDS, None):
            try:
                await in_database(journal.settle, self.begun, self.text, self.thinking, ending)
            except DatabaseError:
                logger.exception("The end of reply %s could not be stored", self.begun.reply.pk)
                if seconds is not None:  # else its heartbeat has ended, and tells the others
                    await asyncio.sleep(seconds)
            else:
                return


replies: dict[int, LiveReply] = {}  # by id; all that this process writes now

_checkpoints: asyncio.Task[None] | None = None
_checkpoint_soon = asyncio.Event()
_drained: asyncio.Task[None] | None = None


def write(begun: Begun) -> LiveReply:
    """Begin to write a reply."""
    global _checkpoints
    reply = replies[begun.reply.pk] = LiveReply(begun)
    if _checkpoints is None or _checkpoints.done():
        _checkpoints = reply.loop.create_task(_checkpoint(), context=contextvars.Context())
    return reply


async def _checkpoint() -> None:
    """Store once a second how far the replies are, as long as there are any."""
    while replies:
        try:
            async with asyncio.timeout(CHECKPOINT_SECONDS):
                await _checkpoint_soon.wait()
        except TimeoutError:
            pass
        _checkpoint_soon.clear()
        texts = [(pk, reply.text, reply.thinking) for pk, reply in replies.items()]
        try:
            states = await in_database(journal.checkpoint, texts)
        except DatabaseError:
            logger.exception("A checkpoint could not be stored")
            continue
        for pk, _, _ in texts:
            if pk in replies:
                replies[pk].react(states.get(pk))


def drain() -> asyncio.Task[None]:
    """End the replies in an orderly way, before the process does; return when that is done.

    They may go on for `CHAT_SHUTDOWN_GRACE_SECONDS`, then they are interrupted.
    """
    global _drained
    if _drained is None:
        _drained = asyncio.get_running_loop().create_task(_drain(), context=contextvars.Context())
    return _drained


def is_draining() -> bool:
    """Tell whether the process is about to end."""
    return _drained is not None


async def _drain() -> None:
    for seconds in (settings.CHAT_SHUTDOWN_GRACE_SECONDS, SETTLE_SECONDS):
        if replies:
            await asyncio.wait([reply.task for reply in replies.values()], timeout=seconds)
        for reply in replies.values():
            reply.end(Status.INTERRUPTED)

"""The replies that this process writes: each a task of its own, followed by whoever reads along.

The task belongs to the process, not to a request: it goes on when its reader leaves. What it has
written is stored once a second together with a heartbeat, so that a crash loses a second of it, and
every process can see which replies still live.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from chat import journal, llm
from chat.database import heart, in_background, writers
from chat.events import Beat, Delta, Event, Start, Thought, last_event
from chat.journal import Begun, Ending, State
from chat.models import Status, written_here
from llama_chatbot.errors import Unavailable

CHECKPOINT_SECONDS = 0.75  # so that a Stop from elsewhere is seen within a second
FIRST_READER_SECONDS = 5.0  # in which whoever sent the message will have begun to read
FOLLOWED_SECONDS = 5.0  # how often a reader in another process says that it is there
BEAT_SECONDS = 15.0
PIECE_SECONDS = 1 / 15  # between two pieces of a reply: enough for text to seem to flow
FAILURE_SECONDS = 10.0  # in which whoever sent the message asks what became of it
SETTLE_RETRY_SECONDS = 1.0
SETTLE_SECONDS = 10.0  # in which the last replies are stored before the process ends

logger = logging.getLogger(__name__)


class ServerEnds(Unavailable):
    """This process is about to end, and another will take its place."""

    message = "The server is about to restart: try again in a moment."


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
        self.began_at = time.monotonic()
        self.heard_at = self.began_at - PIECE_SECONDS  # the first piece does not wait
        self.left_at = self.began_at + FIRST_READER_SECONDS  # by the last reader
        self._waiters: list[asyncio.Future[bool]] = []
        self._waking: asyncio.TimerHandle | None = None
        self._cut_short: Status | None = None
        self.loop = asyncio.get_running_loop()
        options = {**begun.thread.options, "num_ctx": begun.context.num_ctx}
        call = llm.chat(begun.reply.model, begun.context.messages, options, self._add)
        # Two tasks, so that it is the call alone that gets cancelled.
        self._call = self.loop.create_task(call)
        self.task = self.loop.create_task(self._run())

    def end(self, status: Status) -> None:
        """Cut the reply short, unless it has ended or was cut short before."""
        if not self._call.done() and self._cut_short is None:
            self._cut_short = status
            self._call.cancel()

    async def follow(self, offset: int) -> AsyncIterator[Event]:
        """Yield what happens, the text from `offset` on."""
        thought = len(self.thinking) if offset else 0  # it comes before the text
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
        """Act on what the database says of this reply."""
        if (
            state is None
            or state.status != Status.GENERATING
            or not state.user_is_active
            or self._is_abandoned(state.followed_at)
        ):
            self.end(Status.STOPPED)

    def beat(self) -> None:
        """Wake the readers when they have long heard nothing."""
        if time.monotonic() - self.heard_at > BEAT_SECONDS:
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
        if self._waking:
            self._waking.cancel()
            self._waking = None
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
        self._wake_soon()

    def _wake_soon(self) -> None:
        """Wake the readers at once, or where they have just had a piece, at the next tick.

        Sending a piece costs more than half of what relaying a token does. Ticks are the same for
        all replies, so that the event loop wakes up once for many of them.
        """
        if self._waking is None:
            now = time.monotonic()
            if now - self.heard_at >= PIECE_SECONDS:
                self._wake()
            else:
                wait = PIECE_SECONDS - now % PIECE_SECONDS
                self._waking = self.loop.call_later(wait, self._wake)

    async def _run(self) -> None:
        reply = self.begun.reply
        await asyncio.wait([self._call])
        ending = self._ending()
        is_stored = False
        try:
            await self._settle(ending)
            is_stored = True
        finally:
            if not is_stored:
                reply.status = Status.INTERRUPTED
            self.last_event = last_event(reply, ending.error)
            del replies[reply.pk]
            written_here.discard(reply.pk)
            if reply.status == Status.FAILED:
                failures[reply.pk] = self.last_event
                self.loop.call_later(FAILURE_SECONDS, failures.pop, reply.pk, None)
            self._wake()

    def _ending(self) -> Ending:
        """Return how the call to the model has ended."""
        status, error, record = Status.FAILED, None, None
        try:
            record = self._call.result()
            status = Status.COMPLETE
        except asyncio.CancelledError:
            status = self._cut_short or Status.INTERRUPTED
        except llm.ModelError as model_error:
            error = model_error
        except Exception:
            # A mistake of ours must end the reply too, or its thread would generate for ever.
            logger.exception("Reply %s failed", self.begun.reply.pk)
            error = llm.ModelUnavailable()
        return Ending(status, error, record, self.first_token_ms, self.pieces)

    async def _settle(self, ending: Ending) -> None:
        """Store the end, however often the database has to be asked."""
        while True:
            try:
                await in_background(
                    writers, journal.settle, self.begun, self.text, self.thinking, ending
                )
            except (OperationalError, InterfaceError) as error:
                # Till then the text is nowhere but here.
                logger.error(
                    "The end of reply %s is not stored yet: %s", self.begun.reply.pk, error
                )
                await asyncio.sleep(SETTLE_RETRY_SECONDS)
            except Exception:
                if ending.status == Status.INTERRUPTED:
                    raise
                # The text can be kept all the same, without what came with it.
                logger.exception("The end of reply %s cannot be stored", self.begun.reply.pk)
                ending = Ending(Status.INTERRUPTED, None, None, None, self.pieces)
            else:
                return


replies: dict[int, LiveReply] = {}  # by id; all that this process writes now
failures: dict[int, Event] = {}  # a failure may leave no row to be told from

_checkpoints: asyncio.Task[None] | None = None
_checkpoint_soon = asyncio.Event()
_drained: asyncio.Task[None] | None = None
_is_over = False  # the time of grace, in which replies may go on although the process is to end


def write(begun: Begun) -> LiveReply:
    """Begin to write a reply.

    Not to be called in a request's context: its database work would need the request's thread
    after its end.
    """
    global _checkpoints
    reply = replies[begun.reply.pk] = LiveReply(begun)
    written_here.add(begun.reply.pk)
    if _is_over:  # it was begun while the time of grace ended
        reply.end(Status.INTERRUPTED)
    if _checkpoints is None or _checkpoints.done():
        _checkpoints = reply.loop.create_task(_checkpoint())
    return reply


async def _checkpoint() -> None:
    """Store how far the replies are, about once a second, as long as there are any."""
    while replies:
        try:
            async with asyncio.timeout(CHECKPOINT_SECONDS):
                await _checkpoint_soon.wait()
        except TimeoutError:
            pass
        _checkpoint_soon.clear()
        for reply in replies.values():
            reply.beat()
        # In the order of ids, as whoever else locks several of them does.
        texts = sorted((pk, reply.text, reply.thinking) for pk, reply in replies.items())
        try:
            states = await in_background(heart, journal.checkpoint, texts)
        except DatabaseError as error:
            logger.error("A checkpoint could not be stored: %s", error)
            continue
        except Exception:
            # A mistake of ours must not end the heartbeats, or all replies would seem orphaned.
            logger.exception("A checkpoint failed")
            continue
        for pk, _, _ in texts:
            if pk in replies:
                replies[pk].react(states.get(pk))


def drain() -> asyncio.Task[None]:
    """End the replies in an orderly way, before the process does; return when that is done.

    They may go on for `CHAT_SHUTDOWN_GRACE_SECONDS`, then they are interrupted.
    """
    global _drained
    if _drained is None or _drained.done():  # a reply may have begun after the first time
        _drained = asyncio.get_running_loop().create_task(_drain(), context=contextvars.Context())
    return _drained


def is_draining() -> bool:
    """Tell whether the process is about to end."""
    return _drained is not None


def is_over() -> bool:
    """Tell whether the process ends as soon as its last connection does."""
    return _is_over


async def _drain() -> None:
    global _is_over
    if replies:
        tasks = [reply.task for reply in replies.values()]
        await asyncio.wait(tasks, timeout=settings.CHAT_SHUTDOWN_GRACE_SECONDS)
    _is_over = True
    for reply in replies.values():
        reply.end(Status.INTERRUPTED)
    if replies:
        tasks = [reply.task for reply in replies.values()]
        _, unsettled = await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
        for task in unsettled:  # their readers would keep the process from ending
            task.cancel()

"""The replies that this process writes: each a task of its own, followed by whoever reads along.

The task belongs to the process, not to a request: it goes on when its reader leaves. What it has
written is stored about once a second together with a heartbeat, so that a crash loses a second of
it, and every process can see which replies are still being written.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError

from chat import usage
from chat.models import MessageStatus
from chat.ollama import client
from chat.ollama.client import Stats
from chat.ollama.continuation import can_continue, continue_chat
from chat.ollama.errors import CannotContinue, ModelError, ModelUnavailable, PromptTooLong
from chat.prompt.marks import neutralize_markup
from chat.prompt.window import options_for
from chat.replies import log, store, workers
from chat.replies.events import Cursor, Event, KeepAlive, last_event
from chat.replies.lifecycle import NotOwner
from chat.replies.queue import Queue
from chat.replies.readers import FOLLOWED_FOR
from chat.replies.store import Outcome, RowState, StartedReply
from chat.replies.turns import Ticket
from chat.search.index import indexer
from core import metrics
from core.database import heartbeats, in_background, outage, writers

CHECKPOINT_SECONDS = 0.75  # so that a Stop from elsewhere is seen within a second
FIRST_READER_SECONDS = 5.0  # in which whoever sent the message will have begun to read
KEEP_ALIVE_SECONDS = 15.0
PIECE_SECONDS = 1 / 15  # between two pieces of a reply: enough for text to seem to flow
FAILURE_SECONDS = 10.0  # in which whoever sent the message asks why the reply failed
SAVE_RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.3  # for requests that have reached the process, which takes no more of them
LONE_GRACE_SECONDS = 5.0  # for replies to end in, where no other process carries them on
SAVE_SECONDS = 10.0  # in which the last replies are stored before the process ends

logger = logging.getLogger(__name__)


class LiveReply:
    """A reply that this process writes; used in the event loop's thread only."""

    def __init__(self, started: StartedReply, registry: "Registry") -> None:
        self.started = started
        self.text = started.reply.content  # of one that is continued
        self.thinking = started.reply.thinking
        self.saved_length = self.length  # as of the last checkpoint
        self.pieces = 0  # written by this process
        self.first_token_ms = started.reply.first_token_ms
        self.last_event: Event | None = None
        self.is_elsewhere = False  # another process goes on with it
        self.readers = 0
        self.began_at = time.monotonic()
        self.heard_at = self.began_at - PIECE_SECONDS  # the first piece does not wait
        self.left_at = self.began_at + FIRST_READER_SECONDS  # by the last reader
        # As of the last checkpoint; another process may have found that nobody read it.
        self.saved_unread_since = -1.0 if started.reply.unread_since else None
        self._registry = registry
        self._ticket: Ticket | None = None  # while it waits for its turn, or has it
        self._turn_at = self.began_at
        self._host = ""  # that writes it, or did so last
        self._waiters: list[asyncio.Future[bool]] = []
        self._waking: asyncio.TimerHandle | None = None
        self._cut_short: MessageStatus | None = None
        self.loop = asyncio.get_running_loop()
        # Two tasks, so that it is the call alone that gets cancelled.
        self._call = self.loop.create_task(self._generate())
        self.task = self.loop.create_task(self._run())

    @property
    def length(self) -> int:
        """How many characters there are, of text and thinking: they only grow."""
        return len(self.text) + len(self.thinking)

    @property
    def progress(self) -> tuple[int, str, str, int]:
        """What a checkpoint stores: id, text, thinking, and about how many tokens they are."""
        tokens = self.started.written_tokens + self.pieces
        return self.started.reply.pk, self.text, self.thinking, tokens

    @property
    def unread_since(self) -> float | None:
        """When the last reader left, as `time.monotonic()`; None while one is there or may come."""
        is_unread = not self.readers and self.left_at <= time.monotonic()
        return self.left_at if is_unread else None

    def end(self, status: MessageStatus) -> None:
        """Cut the reply short, unless it has ended or was cut short before."""
        if not self._call.done() and self._cut_short is None:
            self._cut_short = status
            self._call.cancel()

    @property
    def position(self) -> int | None:
        """How many are before it in the queue, None where it does not wait."""
        return self._ticket.position if self._ticket else None

    def leave(self) -> None:
        """Stop writing: another process goes on, or will."""
        self.is_elsewhere = True
        if self._ticket:
            self._ticket.is_handed_over = True
        self._call.cancel()

    async def follow(self, cursor: Cursor) -> AsyncIterator[Event]:
        """Yield what happens from the cursor on, to the end or until it happens elsewhere."""
        rewind_offset = self.started.reply.rewind_offset
        self.readers += 1
        try:
            if start := cursor.start(self.started.reply, self.thinking):
                yield start
            while True:
                if event := cursor.advance(self.text, self.thinking, rewind_offset):
                    yield event
                elif queued := cursor.queued(self.position):
                    yield queued
                elif self.last_event:
                    yield self.last_event
                    return
                elif self.is_elsewhere:
                    cursor.doubt()
                    return
                elif not await self._has_news():
                    yield KeepAlive()
        finally:
            self.readers -= 1
            self.note_nobody_reads()

    def note_nobody_reads(self) -> None:
        """Note that a reader has left, or will not come."""
        self.left_at = time.monotonic()
        if not self.readers and settings.CHAT_ABANDONED_REPLY_SECONDS == 0:
            self._registry.checkpoint_soon()

    def react(self, state: RowState | None) -> None:
        """Act on the state of this reply's row."""
        if state and not state.is_mine:
            self.leave()
        elif (
            state is None
            or state.status != MessageStatus.GENERATING
            or not state.user_is_active
            or self._is_abandoned(state.followed_ago)
        ):
            self.end(MessageStatus.STOPPED)

    def keep_alive(self) -> None:
        """Wake the readers when they have heard nothing for long."""
        if time.monotonic() - self.heard_at > KEEP_ALIVE_SECONDS:
            self._wake(is_news=False)

    def _is_abandoned(self, followed_ago: timedelta | None) -> bool:
        limit = settings.CHAT_ABANDONED_REPLY_SECONDS
        if limit is None or self.readers or self.started.reply.in_background:
            return False
        alone_for = time.monotonic() - self.left_at
        if followed_ago is not None:
            alone_for = min(alone_for, (followed_ago - FOLLOWED_FOR).total_seconds())
        return alone_for > limit

    async def _has_news(self) -> bool:
        """Wait until something happens; return False where only time has passed."""
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._waiters.append(waiter)
        return await waiter

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
        if self.first_token_ms is None:
            seconds = time.monotonic() - self._turn_at
            self.first_token_ms = int(seconds * 1000)
            metrics.first_token(self.started.reply.model, seconds)
        self.pieces += 1
        self.text += text
        self.thinking += thinking
        if self.pieces == 1 and self.started.reply.takeovers:
            # Three take-overs without progress end a reply, and this process may die soon as well.
            self._registry.checkpoint_soon()
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

    async def _generate(self) -> Stats:
        """Have a host write in the reply's turn, and if it fails, others from where it was."""
        reply, thread = self.started.reply, self.started.thread
        failed: frozenset[str] = frozenset()
        while True:
            ticket = self._ticket = Ticket(
                user_id=thread.user_id,
                model=reply.model,
                conversation=str(thread.pk),
                reply_id=reply.pk,
                queued_at=reply.created_at,
                avoided=failed,
                host="" if failed else self.started.host,
                on_move=self._wake,
            )
            try:
                async with self._registry.queue.turn(ticket) as host:
                    self._host, self._turn_at = host, time.monotonic()
                    return await self._write(host)
            except PromptTooLong:
                raise
            except ModelError as error:
                failed |= {ticket.host}
                if not await self._can_go_on_elsewhere(failed):
                    raise
                logger.warning("Reply %s goes on at another host: %s", reply.pk, error)
            finally:
                self._ticket = None

    async def _can_go_on_elsewhere(self, failed: frozenset[str]) -> bool:
        """Return whether a host that has not failed can go on from the last character."""
        reply = self.started.reply
        if failed.issuperset(client.hosts_of(reply.model)):
            return False
        if self.text and not (reply.format is None and await can_continue(reply.model)):
            return False
        if self.pieces:
            # What the host had computed is used up; what it wrote is part of the next prompt.
            prompt_tokens = self.started.prompt.tokens
            user_id = self.started.thread.user_id
            try:
                await in_background(
                    writers, usage.add, user_id, reply.model, 0, prompt_tokens, self.pieces
                )
            except DatabaseError:
                logger.exception("What reply %s used of %s was not counted", reply.pk, self._host)
        if self.text:
            self.started.written_tokens += self.pieces
        else:
            self.thinking = ""  # which begins anew
        self.pieces = 0
        return True

    async def _write(self, host: str) -> Stats:
        """Have a host write; where it refuses the prompt as too long, try again with less."""
        model, written = self.started.reply.model, neutralize_markup(self.text)
        while True:
            prompt = self.started.prompt
            options = options_for(
                self.started.thread,
                prompt,
                self.started.written_tokens,
                limits_anew=self.started.ended_before is not None,
            )
            try:
                if written:
                    return await continue_chat(
                        host, model, prompt.messages, written, options, self._add
                    )
                return await client.chat(
                    host,
                    model,
                    prompt.messages,
                    options,
                    self._add,
                    format=self.started.reply.format,
                )
            except PromptTooLong:
                shorter = prompt.with_fewer_turns()
                if shorter is None:
                    raise
                logger.warning(
                    "Reply %s: the model refused %s turns as too long, trying %s",
                    self.started.reply.pk,
                    len(prompt.turns),
                    len(shorter.turns),
                )
                self.started.prompt = shorter

    async def _run(self) -> None:
        reply = self.started.reply
        await asyncio.wait([self._call])
        outcome = self._outcome()
        try:
            if stored := await self._save(outcome):
                log.write_own(self.started, stored, int((time.monotonic() - self.began_at) * 1000))
        except NotOwner:
            self.is_elsewhere = True
        except BaseException:
            reply.status = MessageStatus.INTERRUPTED  # as its row will be, once that is noticed
            raise
        finally:
            if not self.is_elsewhere:
                self.last_event = last_event(reply, outcome.error)
            self._registry.remove(self)
            self._wake()
            indexer.soon()

    def _outcome(self) -> Outcome:
        """Return how the call to the model has ended."""
        status, error, stats = MessageStatus.FAILED, None, None
        try:
            stats = self._call.result()
            status = MessageStatus.COMPLETE
        except asyncio.CancelledError:
            status = self._cut_short or MessageStatus.INTERRUPTED
        except CannotContinue:
            status = MessageStatus.INTERRUPTED
        except ModelError as model_error:
            error = model_error
        except Exception:
            # A bug must end the reply too, or its thread would generate forever.
            logger.exception("Reply %s failed", self.started.reply.pk)
            error = ModelUnavailable()
        return Outcome(status, error, stats, self.first_token_ms, self.pieces, self._host)

    async def _save(self, outcome: Outcome) -> Outcome | None:
        """Store the outcome, however often the database has to be asked; return what is stored.

        None where another process goes on.
        """
        while not self.is_elsewhere:
            try:
                await in_background(
                    writers, store.save_outcome, self.started, self.text, self.thinking, outcome
                )
            except NotOwner:
                raise
            except Exception as error:
                if isinstance(error, DatabaseError) and outage(error):
                    # Until then the text is nowhere but here.
                    logger.error(
                        "The end of reply %s is not stored yet: %s", self.started.reply.pk, error
                    )
                    await asyncio.sleep(SAVE_RETRY_SECONDS)
                    continue
                if outcome.status == MessageStatus.INTERRUPTED:
                    raise
                # The text can still be kept, without what came with it.
                logger.exception("The end of reply %s cannot be stored", self.started.reply.pk)
                outcome = replace(outcome, status=MessageStatus.INTERRUPTED, error=None, stats=None)
            else:
                return outcome
        return None


class Registry:
    """The replies that one process writes, their checkpoints, and their end with the process."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.replies: dict[int, LiveReply] = {}  # by id
        self.failures: dict[int, Event] = {}  # by id: a failure may leave no row to read it from
        self.is_closed = (
            False  # no reply begins; the process ends as soon as its last connection does
        )
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
        reply = self.replies[started.reply.pk] = LiveReply(started, self)
        if self.is_closed:  # it was started while the period of grace ended
            self.drain()
        if self._checkpoints is None or self._checkpoints.done():
            self._checkpoints = reply.loop.create_task(self._checkpoint())
        return reply

    def remove(self, reply: LiveReply) -> None:
        """Forget a reply that has ended; why it failed is remembered for some seconds."""
        row = reply.started.reply
        del self.replies[row.pk]
        if row.status == MessageStatus.FAILED and reply.last_event:
            self.failures[row.pk] = reply.last_event
            reply.loop.call_later(FAILURE_SECONDS, self.failures.pop, row.pk, None)

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
            if self.replies and (grace := await self._grace_seconds()):
                await asyncio.wait([reply.task for reply in self.replies.values()], timeout=grace)
        self.is_closed = True
        if replies := list(self.replies.values()):
            if settings.CHAT_CARRY_ON:
                await self._hand_over(replies)
            else:
                for reply in replies:
                    reply.end(MessageStatus.INTERRUPTED)
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
            reply.leave()


registry = Registry()
"""The registry of this process."""

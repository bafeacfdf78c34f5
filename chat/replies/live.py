"""A reply that this process writes: a task of its own, followed by whoever reads along.

The task belongs to the process, not to a request: it goes on when its reader leaves.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
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
from chat.replies import log, store
from chat.replies.events import Cursor, Event, KeepAlive, last_event
from chat.replies.lifecycle import NotOwner
from chat.replies.queue import Queue
from chat.replies.readers import FOLLOWED_FOR
from chat.replies.store import Outcome, RowState, StartedReply
from chat.replies.turns import Ticket
from chat.search.index import indexer
from core import metrics
from core.database import in_background, outage, writers

FIRST_READER_SECONDS = 5.0  # in which whoever sent the message will have begun to read
KEEP_ALIVE_SECONDS = 15.0
PIECE_SECONDS = 1 / 15  # between two pieces of a reply: enough for text to seem to flow
SAVE_RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class LiveReply:
    """A reply that this process writes; used in the event loop's thread only."""

    def __init__(
        self,
        started: StartedReply,
        queue: Queue,
        *,
        checkpoint_soon: Callable[[], None],
        on_end: Callable[["LiveReply"], None],
    ) -> None:
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
        self._queue = queue
        self._checkpoint_soon = checkpoint_soon
        self._on_end = on_end
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

    def cut_short(self, status: MessageStatus) -> None:
        """Cut the reply short, unless it has ended or was cut short before."""
        if not self._call.done() and self._cut_short is None:
            self._cut_short = status
            self._call.cancel()

    @property
    def position(self) -> int | None:
        """How many are before it in the queue, None where it does not wait."""
        return self._ticket.position if self._ticket else None

    def let_go(self) -> None:
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
            self._checkpoint_soon()

    def react(self, state: RowState | None) -> None:
        """Act on the state of this reply's row."""
        if state and not state.is_mine:
            self.let_go()
        elif (
            state is None
            or state.status != MessageStatus.GENERATING
            or not state.user_is_active
            or self._is_abandoned(state.followed_ago)
        ):
            self.cut_short(MessageStatus.STOPPED)

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
            self._checkpoint_soon()
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
                async with self._queue.turn(ticket) as host:
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
            # As its row will be: the sweep finds that nobody writes it, and interrupts it.
            reply.status = MessageStatus.INTERRUPTED
            raise
        finally:
            if not self.is_elsewhere:
                self.last_event = last_event(reply, outcome.error)
            self._on_end(self)
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

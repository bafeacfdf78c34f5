"""A reply that is stored nowhere, written for one reader."""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from chat import usage
from chat.formats import Format
from chat.models import MessageStatus
from chat.ollama import client
from chat.ollama.client import ChatMessage, Stats
from chat.ollama.errors import ModelError, PromptTooLong
from chat.ollama.placement import without_password
from chat.prompt.estimate import estimate
from chat.prompt.marks import neutralize_markup
from chat.prompt.window import TOKENS_OF_A_TEMPLATE
from chat.replies import log, registry, turns
from chat.replies.events import Cursor, Delta, End, Event, Failure, KeepAlive
from chat.replies.live import KEEP_ALIVE_SECONDS, PIECE_SECONDS
from chat.replies.turns import Ticket
from core.database import in_background, in_database, writers
from core.errors import ApiError, ServerShuttingDown

logger = logging.getLogger(__name__)


class Generation:
    """One call to the model, and what has come of it."""

    def __init__(
        self,
        user: User,
        model: str,
        messages: Sequence[ChatMessage],
        options: dict[str, Any],
        format: Format | None,
    ) -> None:
        self.user, self.model, self.messages = user, model, messages
        self.options, self.format = options, format
        self.text = self.thinking = ""
        self.pieces = 0
        self.began_at = self._turn_at = time.monotonic()
        self.first_token_ms: int | None = None
        self._news = asyncio.Event()
        self._queued_at = timezone.now()
        self._ticket = self._make_ticket()
        # A context of its own: its last query comes after the request, where a reader leaves.
        self._task = asyncio.get_running_loop().create_task(
            self._write(), context=contextvars.Context()
        )
        registry.current.unstored.add(self._task)
        self._task.add_done_callback(self._finish)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens, as readers of stored replies get it; without a reader it ends."""
        cursor = Cursor(0)
        try:
            while True:
                self._news.clear()
                if event := cursor.advance(self.text, self.thinking, None):
                    yield event
                    await asyncio.wait([self._task], timeout=PIECE_SECONDS)
                elif queued := cursor.queued(self._ticket.position):
                    yield queued
                elif self._task.done():
                    yield self._last_event()
                    return
                elif not await self._has_news():
                    yield KeepAlive()
        finally:
            self._task.cancel()

    async def _has_news(self) -> bool:
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                return await self._news.wait()
        except TimeoutError:
            return False

    def _add(self, text: str, thinking: str) -> None:
        if not self.pieces:
            self.first_token_ms = int((time.monotonic() - self._turn_at) * 1000)
        self.pieces += 1
        self.text += text
        self.thinking += thinking
        self._news.set()

    async def _write(self) -> Stats:
        stats = None
        try:
            while stats is None:
                stats = await self._write_at_a_host()
            return stats
        finally:
            if stats or self.pieces:
                await self._count(stats)

    async def _write_at_a_host(self) -> Stats | None:
        """Have a host write; None where it failed before its first word, and others are left."""
        try:
            async with registry.current.queue.turn(self._ticket) as host:
                self._turn_at = time.monotonic()
                return await client.chat(
                    host, self.model, self.messages, self.options, self._add, format=self.format
                )
        except PromptTooLong:
            raise
        except ModelError:
            failed = self._ticket.avoided | {self._ticket.host}
            if self.pieces or failed.issuperset(client.hosts_of(self.model)):
                raise
            self._ticket = self._make_ticket(failed)
            return None

    def _make_ticket(self, failed: frozenset[str] = frozenset()) -> Ticket:
        return Ticket(
            self.user.pk,
            self.model,
            conversation_of(self.messages),
            queued_at=self._queued_at,
            avoided=failed,
            on_move=self._news.set,
        )

    async def _count(self, stats: Stats | None) -> None:
        """Add to what the user has used."""
        prompt_tokens, completion_tokens = self._tokens(stats)
        try:
            await in_background(
                writers,
                usage.add,
                self.user.pk,
                self.model,
                replies=1,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
            )
        except DatabaseError:
            logger.exception("A completion of user %s was not counted", self.user.pk)

    def _tokens(self, stats: Stats | None) -> tuple[int, int]:
        """Return those of the prompt and the text; estimates where Ollama's report is missing."""
        if stats:
            return stats.prompt_tokens, stats.completion_tokens
        return sum(estimate(message["content"]) for message in self.messages), self.pieces

    def _finish(self, task: asyncio.Task[Stats]) -> None:
        registry.current.unstored.discard(task)
        self._news.set()
        self._log(task)

    def _log(self, task: asyncio.Task[Stats]) -> None:
        """Write a line, as for replies that are stored."""
        stats, error = None, None
        if task.cancelled():
            is_ending = registry.current.is_closed
            status = MessageStatus.INTERRUPTED if is_ending else MessageStatus.STOPPED
        elif error := task.exception():  # which the reader gets, if there is one
            status = MessageStatus.FAILED
        else:
            status, stats = MessageStatus.COMPLETE, task.result()
        prompt_tokens, completion_tokens = self._tokens(stats)
        log.write(
            log.ReplyEnd(
                status=status,
                model=self.model,
                code=error.code if isinstance(error, ApiError) else None,
                finish_reason=stats.finish_reason if stats else None,
                host=without_password(self._ticket.host),
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                first_token_ms=self.first_token_ms,
                milliseconds=int((time.monotonic() - self.began_at) * 1000),
            )
        )

    def _last_event(self) -> Event:
        if self._task.cancelled():  # and not by its reader, who is there
            return Failure(ServerShuttingDown(), reply_kept=False)
        try:
            stats = self._task.result()
        except ModelError as error:
            return Failure(error, reply_kept=False)
        return End(
            MessageStatus.COMPLETE,
            stats.finish_reason,
            {
                "prompt_tokens": stats.prompt_tokens,
                "completion_tokens": stats.completion_tokens,
                "duration_ms": stats.duration_ms,
                "first_token_ms": self.first_token_ms,
            },
        )


async def begin(
    user: User,
    model: str,
    messages: Sequence[ChatMessage],
    options: dict[str, Any],
    format: Format | None,
) -> Generation:
    """Have a model answer a conversation of the client's own.

    Raises `QuotaExceeded`, `Busy`, `UnknownModel`, `ModelError`, `ServerShuttingDown` and, where
    the conversation does not fit the model's window, `PromptTooLong`.
    """
    await in_database(admit, user)
    await client.require_model(model)
    window = await client.window(model)
    safe = [
        ChatMessage(role=message["role"], content=neutralize_markup(message["content"]))
        for message in messages
    ]
    size = TOKENS_OF_A_TEMPLATE + sum(estimate(message["content"]) for message in safe)
    room = window - size
    if room < 1:
        raise PromptTooLong(size, window)
    if registry.current.is_closed:
        raise ServerShuttingDown
    limit = min(settings.CHAT_REPLY_TOKENS_MAX, max(1, room))
    return Generation(
        user, model, safe, {"num_predict": limit, **options, "num_ctx": window}, format
    )


def admit(user: User) -> None:
    """Raise `QuotaExceeded` where the user has used the tokens of this day, and `Busy`."""
    with transaction.atomic():
        usage.check_quota(user)
        turns.require_room()


def conversation_of(messages: Sequence[ChatMessage]) -> str:
    """Return a name of the conversation that begins like this, the same each time it is sent."""
    beginning: list[ChatMessage] = []
    for message in messages:
        beginning.append(message)
        if message["role"] == "user":
            break
    return sha256(repr(beginning).encode("utf-8", "replace")).hexdigest()[:32]


async def collect(events: AsyncIterator[Event]) -> tuple[str, End]:
    """Return the whole text, and how it has ended. Raises the `ApiError` with which it failed."""
    text = ""
    async for event in events:
        match event:
            case Delta():
                text += event.text
            case Failure(error):
                raise error
            case End():
                return text, event
    raise AssertionError("a reply ends with an event that says so")

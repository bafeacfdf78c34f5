"""The calls of this process that wait for their turns or have them: see `turns.py`."""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings
from django.db import Error as DatabaseError

from chat.ollama import calls, client, placement
from chat.replies import turns, workers
from chat.replies.turns import Ticket
from core import metrics
from core.database import heartbeats, in_background, writers

POLL_SECONDS = 0.5  # between two looks at what others have left, while a call waits here

logger = logging.getLogger(__name__)


class Queue:
    """Takes turns for all calls of this process together; used in the event loop's thread only."""

    def __init__(self) -> None:
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._running: dict[Ticket, float] = {}  # with the time.monotonic() of its turn
        self._ended: list[Ticket] = []
        self._is_known = False  # to other processes
        self._wake = asyncio.Event()
        self._round: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[str]:
        """Wait for a turn, have it for as long as the block runs; yield the host to call."""
        if not settings.OLLAMA_PARALLEL:
            hosts = ticket.preferred(client.hosts_of(ticket.model))
            # There is one, since each takes any number.
            ticket.host = placement.place(ticket.conversation, hosts, client.running(), 0) or ""
            yield ticket.host
            return
        queued_at = time.monotonic()
        try:
            if ticket.host:  # since it began
                self._running[ticket] = queued_at
            else:
                self._waiting[ticket] = asyncio.get_running_loop().create_future()
                self._look_soon()
                await self._waiting[ticket]
            metrics.queue_seconds.observe(time.monotonic() - queued_at)
            yield ticket.host
        finally:
            self._leave(ticket)

    async def close(self) -> None:
        """Store which calls have ended, unless the database is away."""
        if self._ended:
            await self._look()

    def _leave(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket, None)
        began_at = self._running.pop(ticket, None)
        if began_at is not None:
            turns.pace.note(time.monotonic() - began_at)
        self._ended.append(ticket)
        self._look_soon()

    def _look_soon(self) -> None:
        self._wake.set()
        loop = asyncio.get_running_loop()
        if self._round is None or self._round.done():
            self._round = loop.create_task(self._look_again(), context=contextvars.Context())

    async def _look_again(self) -> None:
        """Take turns whenever a call comes or ends here, and look for others' twice a second."""
        if not self._is_known:  # before it has a row, which would count as an orphan's
            await self._say_here()
        while self._waiting or self._ended:
            self._wake.clear()
            await self._look()
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        calls.revive()
        waiting, running = list(self._waiting), list(self._running)
        ended, self._ended = self._ended, []
        try:
            taken = await in_background(
                writers, turns.take, waiting, ended, running, client.hosts_of
            )
        except DatabaseError as error:
            logger.error("Turns could not be taken: %s", error)
            self._ended = ended + self._ended
            return
        except Exception:
            # A bug must not end this, or nobody would have a turn any more.
            logger.exception("Turns could not be taken")
            return
        for ticket, (row_id, host, position) in taken.items():
            ticket.row_id = row_id
            if ticket not in self._waiting:
                continue  # it has left meanwhile, and is among those that have ended
            if host:
                ticket.host, ticket.position = host, None
                self._running[ticket] = time.monotonic()
                self._waiting.pop(ticket).set_result(None)
            elif position != ticket.position:
                ticket.position = position
                ticket.on_move()

    async def _say_here(self) -> None:
        try:
            await in_background(heartbeats, workers.record_heartbeat)
            self._is_known = True
        except DatabaseError as error:
            logger.error("That this process is there could not be stored: %s", error)

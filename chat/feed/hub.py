"""Tells those who listen in this process what happens to their threads, in any process.

One task reads the log for all of them: at once where something was noted in this process, and once
a second for the rest; not at all while nobody listens.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Iterable

from django.db import DatabaseError

from chat.feed.reader import LogReader, Notice, missed_since, read_for
from core.database import followers, in_background
from core.errors import ServerShuttingDown

POLL_SECONDS = 1.0
GATHER_SECONDS = 0.1  # in which more may happen here, to be read at once
KEEP_ALIVE_SECONDS = 15.0
MOST_PENDING = 1_000  # notices for somebody who does not read them

KEEP_ALIVE = "keep_alive"

logger = logging.getLogger(__name__)


class Listener:
    """One tab or device that listens; used in the event loop's thread only."""

    __slots__ = ("_pending", "_waiter", "heard_at", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self.heard_at = time.monotonic()
        self._pending: list[Notice] = []
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, notices: Iterable[Notice]) -> None:
        """Pass on notices, or that there were too many of them to keep."""
        self.heard_at = time.monotonic()
        self._pending += notices
        if len(self._pending) > MOST_PENDING:
            *_, last = self._pending
            self._pending = [Notice("reload", {}, last.position, last.row)]
        self._wake()

    def end(self) -> None:
        """Pass on nothing more; what was passed on before is still received."""
        self.is_over = True
        self._wake()

    async def next(self) -> list[Notice]:
        """Wait for notices and return those since the last call; none at the end."""
        while not self._pending and not self.is_over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pending, self._pending = self._pending, []
        return pending

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """Those who listen in this process."""

    def __init__(self) -> None:
        self._listeners: dict[int, set[Listener]] = {}  # by their user's id
        self._reader: LogReader | None = None  # while somebody listens
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def wake(self, user_id: int) -> None:
        """Have the log read soon, if this user listens; may be called from any thread."""
        if user_id in self._listeners and self._loop:
            self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """Send everybody away, to other processes: this one is about to end."""
        self._is_closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()
        self._news.set()

    async def listen(self, user_id: int, since: int | None) -> AsyncIterator[Notice]:
        """Yield what happens to a user's threads, from the position `since` on, or from now on.

        The first is a `start`. Raises `ServerShuttingDown` where this process is about to end.
        """
        if self._is_closed:
            raise ServerShuttingDown
        reader = await self._reader_of_log()
        listener = Listener()
        self._listeners.setdefault(user_id, set()).add(listener)
        self._run(reader)
        try:
            known: frozenset[int] = frozenset()
            if since is None:
                yield Notice("start", {}, reader.position)
            else:
                missed = await in_background(
                    followers, missed_since, user_id, since, reader.position
                )
                yield Notice("start", {}, since)
                if missed is None:
                    since = reader.position
                    yield Notice("reload", {}, since)
                for notice in missed or ():
                    yield notice
                # What happens meanwhile comes both ways, and is told once.
                known = frozenset(notice.row for notice in missed or ())
            while notices := await listener.next():
                for notice in notices:
                    if not notice.row or (notice.row > (since or 0) and notice.row not in known):
                        yield notice
        finally:
            listeners = self._listeners[user_id]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[user_id]

    async def _reader_of_log(self) -> LogReader:
        if self._reader is None:
            reader = await in_background(followers, LogReader.at_the_end)
            if self._reader is None:  # unless somebody was faster
                self._reader = reader
        return self._reader

    def _run(self, reader: LogReader) -> None:
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            # A context of its own, not that of the request which happens to be the first.
            self._task = self._loop.create_task(
                self._read_on(reader), context=contextvars.Context()
            )

    async def _read_on(self, reader: LogReader) -> None:
        try:
            while self._listeners:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._news.wait()
                        await asyncio.sleep(GATHER_SECONDS)
                except TimeoutError:
                    pass
                self._news.clear()
                try:
                    await self._read(reader)
                except DatabaseError as error:
                    logger.error("The log of threads could not be read: %s", error)
                except Exception:
                    # A bug must not end this task, or nobody would hear of anything again.
                    logger.exception("The log of threads was not read")
                self._keep_alive(reader)
        finally:
            self._task = self._reader = None

    async def _read(self, reader: LogReader) -> None:
        # Whoever comes while this is read is told what it finds, too.
        found = await in_background(followers, read_for, reader, self._listeners)
        for user_id, notices in found.items():
            for listener in self._listeners.get(user_id, ()):
                listener.tell(notices)

    def _keep_alive(self, reader: LogReader) -> None:
        """Tell those who have heard nothing for long where they are."""
        now = time.monotonic()
        notice = [Notice(KEEP_ALIVE, {}, reader.position)]
        for listeners in self._listeners.values():
            for listener in listeners:
                if now - listener.heard_at > KEEP_ALIVE_SECONDS:
                    listener.tell(notice)


hub = Hub()
"""The hub of this process."""

"""Locks shared by all processes that use the same cache, or the same database."""

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path

from django.core.cache import cache
from django.db.backends.base.base import BaseDatabaseWrapper

POLL_SECONDS = 0.05
DATABASE_POLL_SECONDS = 0.2


@asynccontextmanager
async def cache_lock(key: str, seconds: float) -> AsyncIterator[None]:
    """Hold the lock `key`, after waiting for at most `seconds` until it is free.

    The lock is advisory: the block runs without it after that time, or where the cache is away.
    """
    deadline = time.monotonic() + seconds
    while not (is_held := await cache.aadd(key, "held", seconds)):
        # Neither stored nor there: the cache is away, or the lock has just been released.
        if await cache.aget(key) is None or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        if is_held:
            await cache.adelete(key)


@contextmanager
def process_lock(
    purpose: str, database: BaseDatabaseWrapper, *, waits: bool = False
) -> Iterator[bool]:
    """Yield whether this process holds the lock for a purpose; the end of a process releases it.

    With PostgreSQL it is an advisory lock of the connection, with SQLite a file beside its file,
    unless that is in memory. With `waits`, the block begins when the lock is held.
    """
    if database.vendor == "postgresql":
        key = advisory_lock_key(purpose)
        # Not pg_advisory_lock: an index that is made concurrently would wait for those who wait.
        while not (is_held := _query(database, "SELECT pg_try_advisory_lock(%s)", key)) and waits:
            time.sleep(DATABASE_POLL_SECONDS)
        try:
            yield is_held
        finally:
            if is_held and database.is_usable():  # the pool keeps the connection open
                _query(database, "SELECT pg_advisory_unlock(%s)", key)
        return
    name = str(database.settings_dict["NAME"])
    if ":" in name:
        yield True
        return
    with Path(f"{name}-{purpose}-lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def advisory_lock_key(purpose: str) -> int:
    """Return the number by which PostgreSQL knows the lock for a purpose."""
    return int.from_bytes(sha256(f"llama-chatbot {purpose}".encode()).digest()[:8], signed=True)


def _query(database: BaseDatabaseWrapper, statement: str, key: int) -> bool:
    with database.cursor() as cursor:
        cursor.execute(statement, [key])
        return bool(cursor.fetchone()[0])

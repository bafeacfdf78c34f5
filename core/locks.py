"""Locks shared by all processes that use the same cache, or the same database."""

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from django.core.cache import cache
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

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

    With PostgreSQL it is an advisory lock, with SQLite a file beside its file, unless that is in
    memory. With `waits`, the block begins when the lock is held.
    """
    if database.vendor == "postgresql":
        with _advisory_lock(advisory_lock_key(purpose), database, waits=waits) as is_held:
            yield is_held
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


@contextmanager
def _advisory_lock(key: int, database: BaseDatabaseWrapper, *, waits: bool) -> Iterator[bool]:
    """Yield whether this process holds a lock of PostgreSQL's.

    A transaction on a connection of its own holds it. A session could not: PgBouncer has each
    transaction run in whichever session is free, so another one would be asked to unlock.
    """
    holder = database.copy()
    holder.set_autocommit(False)
    try:
        with holder.cursor() as cursor:
            # Not pg_advisory_xact_lock: an index that is made concurrently would wait for those
            # who wait. It does not wait for the transaction that holds the lock, which is idle.
            while not (is_held := _try_lock(cursor, key)):
                holder.rollback()
                if not waits:
                    break
                time.sleep(DATABASE_POLL_SECONDS)
            else:
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield is_held
    finally:
        with suppress(DatabaseError):  # which have ended the transaction, too
            holder.rollback()
        holder.close()


def _try_lock(cursor: CursorWrapper, key: int) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [key])
    return bool(cursor.fetchone()[0])

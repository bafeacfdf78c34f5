"""A lock shared by all processes that use the same cache."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.cache import cache

POLL_SECONDS = 0.05


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

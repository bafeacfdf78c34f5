"""Doing one thing at a time, in all processes that share a cache."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.cache import cache

POLL_SECONDS = 0.05


@asynccontextmanager
async def one_at_a_time(key: str, seconds: float) -> AsyncIterator[None]:
    """Wait, for so many seconds at most, until nobody else is in here with the same key.

    Where the cache is away, nobody waits.
    """
    deadline = time.monotonic() + seconds
    while not (is_mine := await cache.aadd(key, "held", seconds)):
        # Neither stored nor there: the cache is away, or somebody has just left.
        if await cache.aget(key) is None or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        if is_mine:
            await cache.adelete(key)

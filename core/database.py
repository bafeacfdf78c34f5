"""Asking the database off the event loop, leaving no connection in use."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

# For what belongs to no request; asgiref would do all of that in one thread. Heartbeats have a
# thread of their own, since replies that wait for one seem to be dead.
writers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="writer")
heartbeats = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heartbeat")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function of the database in the thread of the request under way."""
    result: R = await _run_in_thread(function, *args, **kwargs)
    return result


async def in_background(
    threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run a sync function of the database that belongs to no request."""
    run = partial(_run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, run)


def _run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


_run_in_thread: Any = sync_to_async(_run)  # once, since making one costs a fifth of a call

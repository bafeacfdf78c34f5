"""Runs database work off the event loop and gives the connection back afterwards."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

# For work that belongs to no request: asgiref would run all of it in a single thread. Heartbeats
# have their own thread, because a reply whose heartbeat is late is taken for dead.
writers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="writer")
heartbeats = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heartbeat")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function that uses the database, in the current request's thread."""
    result: R = await _run_in_thread(function, *args, **kwargs)
    return result


async def in_background(
    threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run a sync function that uses the database and belongs to no request."""
    run = partial(_run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, run)


def _run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


_run_in_thread: Any = sync_to_async(_run)  # made once: making one costs a fifth of a call

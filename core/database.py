"""Runs database work off the event loop and gives the connection back afterwards."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import (
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)

from core.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")

# After this long, PostgreSQL ends a server's statement, and a transaction that is idle: otherwise a
# process that was cut off from PostgreSQL would keep its locks.
STATEMENT_SECONDS = 30

# For work that belongs to no request: asgiref would run all of it in a single thread. Heartbeats
# have their own thread, because a reply whose heartbeat is late is taken for dead. Followers have
# theirs, because a thousand of them that poll would take the connections of all request threads.
# Exports and imports take long, and wait for each other only.
writers = Threads(settings.WRITER_THREADS, "writer")
transfers = Threads(settings.TRANSFER_THREADS, "transfer")
followers = Threads(settings.FOLLOWER_THREADS, "follower")
heartbeats = Threads(1, "heartbeat")


OUTAGES_OF_SQLITE = {
    "SQLITE_FULL": "its disk is full",
    "SQLITE_BUSY": "is locked by another program",
    "SQLITE_LOCKED": "is locked by another program",
    "SQLITE_READONLY": "is read-only",
    "SQLITE_PERM": "cannot be opened",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_IOERR": "cannot be read or written",
}
OUTAGES_OF_POSTGRESQL = {
    "25006": "is read-only",
    "53100": "its disk is full",
    "57014": "does not answer in time",  # its statement_timeout
}


def outage(error: DatabaseError) -> str | None:
    """Return why the database cannot serve at present; None where the error is a bug."""
    cause = error.__cause__
    if name := getattr(cause, "sqlite_errorname", ""):
        # The extended names begin with these, as SQLITE_IOERR_WRITE does.
        return next((why for code, why in OUTAGES_OF_SQLITE.items() if name.startswith(code)), None)
    if why := OUTAGES_OF_POSTGRESQL.get(getattr(cause, "sqlstate", None) or ""):
        return why
    is_away = isinstance(error, OperationalError | InterfaceError)
    return "does not answer" if is_away and connection.vendor == "postgresql" else None


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function that uses the database, in the current request's thread."""
    result: R = await _run_in_request_thread(function, *args, **kwargs)
    return result


async def in_background(
    threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run a sync function that uses the database and belongs to no request."""
    run = partial(with_fresh_connections, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, run)


def bound_statements() -> None:
    """Limit how long statements and idle transactions last, on all connections from now on.

    For servers: a command such as `migrate` may take its time. SQLite has its own time-out.
    """
    options = connections.settings["default"]["OPTIONS"]
    if "pool" in options:
        bounds = ("statement_timeout", "idle_in_transaction_session_timeout")
        settings_of_session = [f"-c {name}={STATEMENT_SECONDS}s" for name in bounds]
        options["options"] = " ".join([*settings_of_session, options.get("options", "")]).strip()


def with_fresh_connections(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in this thread, on connections that are not too old, and give them back."""
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


# Made once: making one costs a fifth of a call.
_run_in_request_thread: Any = sync_to_async(with_fresh_connections)

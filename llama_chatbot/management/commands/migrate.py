"""`manage.py migrate`: Django's command, which may be run by several at once.

Two that deploy at the same time, or two containers that start, would otherwise both make the same
tables, and one of them would fail.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.core.management.commands.migrate import Command as DjangoCommand
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

KEY = int.from_bytes(sha256(__name__.encode()).digest()[:8], signed=True)
POLL_SECONDS = 0.2


class Command(DjangoCommand):
    """Waits until no other process migrates the database, then does what is left."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, one process at a time."""
        with migration_lock(connections[options["database"]]):
            super().handle(*args, **options)


@contextmanager
def migration_lock(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold a lock that the end of a process releases; wait for it.

    With PostgreSQL it is an advisory lock of the connection, with SQLite a file beside its file.
    """
    if connection.vendor == "postgresql":
        # Not pg_advisory_lock: an index that is made concurrently would wait for those who wait.
        while not _query(connection, "SELECT pg_try_advisory_lock(%s)"):
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            if connection.is_usable():
                _query(connection, "SELECT pg_advisory_unlock(%s)")
        return
    name = str(connection.settings_dict["NAME"])
    if ":" in name:  # in memory
        yield
        return
    with Path(f"{name}-migration-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _query(connection: BaseDatabaseWrapper, statement: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [KEY])
        return bool(cursor.fetchone()[0])

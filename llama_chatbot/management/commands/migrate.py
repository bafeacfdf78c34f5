"""`manage.py migrate`: Django's command, which may be run by several at once.

Two that deploy at the same time, or two containers that start, would otherwise both make the same
tables, and one of them would fail.
"""

from typing import Any

from django.core.management.commands.migrate import Command as DjangoCommand
from django.db import connections

from core.locks import process_lock


class Command(DjangoCommand):
    """Waits until no other process migrates the database, then does what is left."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, one process at a time."""
        with process_lock("migration", connections[options["database"]], waits=True):
            super().handle(*args, **options)

"""Runs hand-written SQL: that of accounts, of `chat/statements/` and `chat/search/database.py`."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection


def execute(statement: str, *parameters: Any) -> int:
    """Run one statement, with `%s` for each parameter; return the number of rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, [to_database(parameter) for parameter in parameters])
        return int(cursor.rowcount)


def column(statement: str, *parameters: Any) -> list[Any]:
    """Run one statement that reads, and return the first value of each row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, [to_database(parameter) for parameter in parameters])
        return [row[0] for row in cursor.fetchall()]


def rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run one statement that reads, and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, [to_database(parameter) for parameter in parameters])
        return list(cursor.fetchall())


def execute_many(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run one statement once for each row of parameters."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[to_database(value) for value in row] for row in rows])


def lock(number: int) -> None:
    """Have transactions that take the lock of this number wait for each other.

    SQLite's do so anyway.
    """
    if connection.vendor == "postgresql":
        execute("SELECT pg_advisory_xact_lock(%s)", number)


def to_database(parameter: Any) -> Any:
    """Return a parameter in the form in which Django stores it."""
    if isinstance(parameter, datetime):
        return connection.ops.adapt_datetimefield_value(parameter)
    return parameter


def placeholders(parameters: Sequence[Any]) -> str:
    """Return the SQL for a list of these parameters."""
    return ", ".join(["%s"] * len(parameters))


def now() -> str:
    """Return the SQL for the time by the database's clock, as Django's `Now` writes it."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"


def as_time(value: datetime | str) -> datetime:
    """Return a time that a statement read or computed: SQLite has no type for it, and no zone."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time if time.tzinfo else time.replace(tzinfo=UTC)

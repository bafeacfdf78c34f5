"""Running hand-written SQL; the statements stand in each app's `statements.py`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection


def execute(statement: str, *parameters: Any) -> int:
    """Run one statement with `%s` for each parameter; return how many rows it has changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, [stored(parameter) for parameter in parameters])
        return int(cursor.rowcount)


def execute_many(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run one statement for each of the rows of parameters."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[stored(value) for value in row] for row in rows])


def stored(parameter: Any) -> Any:
    """Return a parameter in the form in which Django stores it."""
    if isinstance(parameter, datetime):
        return connection.ops.adapt_datetimefield_value(parameter)
    return parameter

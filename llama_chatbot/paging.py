"""Paging by key: a cursor names the last row that its reader has, not how many came before it.

So a page costs the same however far back it is, and nothing comes twice when rows are added.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from json import dumps, loads
from typing import Any, TypeVar

from llama_chatbot.errors import ApiError

Row = TypeVar("Row")


def encode(*key: str | int) -> str:
    """Return the cursor of a row's key."""
    return urlsafe_b64encode(dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: Callable[[Any], Any]) -> list[Any]:
    """Return a cursor's key, each part as one of `kinds`. Raises `ApiError` (400)."""
    try:
        parts = loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return [kind(part) for kind, part in zip(kinds, parts, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError):
        problem = "The cursor cannot be read."
        raise ApiError(problem, fields={"cursor": [problem]}) from None


def moment(text: str) -> datetime:
    """Return the time that a cursor names. Raises `ValueError` for one without a time zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError
    return time


def page(
    rows: Iterable[Row], limit: int, key: Callable[[Row], Sequence[str | int]]
) -> tuple[Sequence[Row], str | None]:
    """Split off the row that only tells that there are more; return the page and the next cursor.

    `rows` are at most `limit` + 1.
    """
    rows = list(rows)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(*key(rows[limit - 1]))

"""Keyset pagination: a cursor names the last row that the client has, not how many came before it.

So a page costs the same however far back it is, and no row comes twice when others are added.
Cursors are signed: only one made here, for the same list, is accepted.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.core import signing
from django.db.models import Model

from core.errors import ApiError

Row = TypeVar("Row")


def decode(cursor: str, owner: Model) -> list[Any]:
    """Return the key of the row that a cursor of `owner`'s list names. Raises `ApiError` (400)."""
    try:
        key: list[Any] = signing.loads(cursor, salt=_salt(owner))
    except signing.BadSignature:
        problem = "The cursor cannot be read."
        raise ApiError(problem, fields={"cursor": [problem]}) from None
    return key


def page(
    rows: Iterable[Row], limit: int, owner: Model, key: Callable[[Row], Sequence[str | int]]
) -> tuple[Sequence[Row], str | None]:
    """Return the page, and the cursor of the next one or None.

    `rows` are up to `limit` + 1 of `owner`'s list: the extra row shows that there are more.
    """
    rows = list(rows)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], signing.dumps(key(rows[limit - 1]), salt=_salt(owner))


def _salt(owner: Model) -> str:
    return f"{owner._meta.label}-{owner.pk}"

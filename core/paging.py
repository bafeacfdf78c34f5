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


def decode(cursor: str, owner: Model | str) -> list[Any]:
    """Return the key of the row that a cursor of `owner`'s list names. Raises `ApiError` (400).

    An owner of several lists has a name for each.
    """
    try:
        key: list[Any] = signing.loads(cursor, salt=_salt(owner))
    except signing.BadSignature:
        problem = "The cursor cannot be read."
        raise ApiError(problem, fields={"cursor": [problem]}) from None
    return key


def encode(key: Sequence[str | int], owner: Model | str) -> str:
    """Return the cursor that names a row of `owner`'s list by its key."""
    return signing.dumps(key, salt=_salt(owner))


def page(
    rows: Iterable[Row],
    limit: int,
    owner: Model | str,
    key: Callable[[Row], Sequence[str | int]],
) -> tuple[Sequence[Row], str | None]:
    """Return the page, and the cursor of the next one or None.

    `rows` are up to `limit` + 1 of `owner`'s list: the extra row shows that there are more.
    """
    rows = list(rows)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode(key(rows[limit - 1]), owner)


def _salt(owner: Model | str) -> str:
    return owner if isinstance(owner, str) else f"{owner._meta.label}-{owner.pk}"

"""Hand-written SQL beside its ORM twin: both are run on the same rows, and must do the same."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet


def outcome(change: Callable[[], object], rows: QuerySet[Any]) -> tuple[object, Any]:
    """Return what a change returns and the rows after it, and undo it."""
    with transaction.atomic():
        result = change()
        after = list(rows.order_by("pk").values())
        transaction.set_rollback(True)
    return result, after


def assert_same(
    statement: Callable[[], object], twin: Callable[[], object], rows: QuerySet[Any]
) -> object:
    """Assert that both return the same and leave the same rows; return what they return."""
    before = list(rows.order_by("pk").values())
    result, after = outcome(statement, rows)
    assert (result, after) == outcome(twin, rows)
    if result:
        assert after != before
    return result


def fields_of(row: Any) -> dict[str, Any]:
    """Return all that is loaded of a row."""
    return {name: value for name, value in vars(row).items() if name != "_state"}

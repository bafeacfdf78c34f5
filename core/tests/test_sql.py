"""Hand-written SQL takes and stores what the ORM does."""

import pytest
from django.utils import timezone

from chat.models import Thread
from core import sql
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("database")


def test_a_statement_returns_how_many_rows_it_has_changed() -> None:
    thread = Thread.objects.create(user=create_user("ann"))
    now = timezone.now()
    change = "UPDATE chat_thread SET updated_at = %s WHERE id = %s"

    assert sql.execute(change, now, thread.pk) == 1
    assert sql.execute(change, now, thread.pk + 1) == 0
    assert Thread.objects.get(updated_at=now) == thread


def test_a_statement_is_run_for_each_row() -> None:
    threads = [Thread.objects.create(user=create_user(name)) for name in ("ann", "bob")]
    now = timezone.now()

    sql.execute_many(
        "UPDATE chat_thread SET updated_at = %s WHERE id = %s",
        [(now, thread.pk) for thread in threads],
    )

    assert set(Thread.objects.filter(updated_at=now)) == set(threads)

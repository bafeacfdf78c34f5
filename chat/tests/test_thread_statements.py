"""Each statement about threads beside its ORM twin, on SQLite and on PostgreSQL."""

from datetime import datetime, timedelta

import pytest
from django.db.models import CharField, F, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import Thread
from chat.tests.rows import LONG, NOW, full_thread, reply
from testing.people import create_user
from testing.twins import assert_same, fields_of

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return full_thread(ann)


def test_get_thread_returns_the_users_thread(ann: User, thread: Thread) -> None:
    twin = Thread.objects.get(pk=thread.pk, user=ann)

    assert fields_of(statements.get_thread(ann, thread.pk)) == fields_of(twin)


@pytest.mark.parametrize("thread_id", [0, -1, 2**63 - 1, 2**63, 10**40])
def test_get_thread_finds_no_other(ann: User, thread: Thread, thread_id: int) -> None:
    with pytest.raises(Http404):
        statements.get_thread(ann, thread_id)


def test_get_thread_finds_neither_somebody_elses_nor_a_deleted_one(
    ann: User, thread: Thread
) -> None:
    with pytest.raises(Http404):
        statements.get_thread(User.objects.get(username="bob"), thread.pk)
    for gone in ({"deleted_at": NOW}, {"expires_at": NOW}):
        Thread.all_objects.filter(pk=thread.pk).update(**{"deleted_at": None, **gone})
        with pytest.raises(Http404):
            statements.get_thread(ann, thread.pk)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_page_of_threads_has_the_users_threads_pinned_ones_first_then_newest_activity(
    ann: User, thread: Thread, limit: int, archived: bool
) -> None:
    for number in range(6):  # three times two of the same moment
        Thread.objects.create(
            user=ann, model="tiny", updated_at=NOW + timedelta(microseconds=number // 2)
        )
    Thread.objects.create(user=ann, model="tiny", deleted_at=NOW)
    Thread.objects.create(user=ann, model="tiny", expires_at=NOW)
    Thread.objects.create(user=ann, model="tiny", expires_at=timezone.now() + timedelta(hours=1))
    for number in range(6):
        Thread.objects.create(
            user=ann, model="tiny", updated_at=NOW, pinned=number > 2, archived=bool(number % 2)
        )
    names = ("id", "title", "model", "created_at", "updated_at", "pinned", "archived", "expires_at")
    listed = ann.threads.filter(archived=archived)
    twin = list(listed.order_by("-pinned", "-updated_at", "-pk").values(*names))
    assert len(twin) > 2

    pages: list[Thread] = []
    cursor = ""
    while True:
        page, more = statements.page_of_threads(ann, limit, cursor, archived=archived)
        pages += page
        if more is None:
            break
        assert len(page) == limit
        cursor = more

    assert [fields_of(row) for row in pages] == twin


def record_activity(thread: Thread, title: str, now: datetime, *, only_if_unmoved: bool) -> bool:
    rows = Thread.objects.filter(pk=thread.pk)
    if only_if_unmoved:
        rows = rows.filter(current_message_id=thread.current_message_id)
    text = CharField()
    given = NullIf(F("title"), Value("", output_field=text), output_field=text)
    return bool(rows.update(updated_at=now, title=Coalesce(given, Value(title))))


@pytest.mark.parametrize("only_if_unmoved", [False, True])
@pytest.mark.parametrize("title", ["", "Mine"])
def test_record_activity_sets_the_time_and_a_missing_title(
    thread: Thread, title: str, only_if_unmoved: bool
) -> None:
    Thread.objects.filter(pk=thread.pk).update(title=title)

    assert assert_same(
        lambda: statements.record_activity(
            thread, LONG[:200], NOW, only_if_unmoved=only_if_unmoved
        ),
        lambda: record_activity(thread, LONG[:200], NOW, only_if_unmoved=only_if_unmoved),
        Thread.objects.all(),
    )


@pytest.mark.parametrize("was_empty", [False, True])
def test_record_activity_finds_a_thread_that_has_moved(thread: Thread, was_empty: bool) -> None:
    first, second = reply(thread), reply(thread)
    Thread.objects.filter(pk=thread.pk).update(current_message=second)
    thread.current_message = None if was_empty else first

    for only_if_unmoved in (False, True):
        result = assert_same(
            lambda: statements.record_activity(thread, "", NOW, only_if_unmoved=only_if_unmoved),  # noqa: B023
            lambda: record_activity(thread, "", NOW, only_if_unmoved=only_if_unmoved),  # noqa: B023
            Thread.objects.all(),
        )
        assert result is not only_if_unmoved


def test_record_activity_knows_no_deleted_thread(thread: Thread) -> None:
    Thread.objects.filter(pk=thread.pk).update(deleted_at=NOW)

    assert not assert_same(
        lambda: statements.record_activity(thread, "", NOW, only_if_unmoved=False),
        lambda: record_activity(thread, "", NOW, only_if_unmoved=False),
        Thread.all_objects.all(),
    )


def test_set_current_message_sets_that_of_one_thread(thread: Thread) -> None:
    message = reply(thread)

    assert_same(
        lambda: statements.set_current_message(thread, message),
        lambda: Thread.objects.filter(pk=thread.pk).update(current_message=message) and None,
        Thread.objects.all(),
    )
    statements.set_current_message(thread, message)
    assert Thread.objects.get(current_message=message) == thread

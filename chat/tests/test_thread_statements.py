"""Each statement about threads beside its ORM twin, on SQLite and on PostgreSQL."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import CharField, F, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import MessageStatus, Sender, Thread
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


def in_list(thread: Thread) -> dict[str, Any]:
    """Return what a list has of a thread."""
    names = ["id", "user_id", "title", "model", "created_at", "updated_at"]
    names += ["pinned", "archived", "expires_at"]
    messages = thread.messages.order_by("pk")
    end = messages.filter(pk=thread.current_message_id or 0).first() or messages.last()
    last = end if end is None or end.content else end.parent
    running = messages.filter(status=MessageStatus.GENERATING).first()
    return {
        **{name: getattr(thread, name) for name in names},
        "running_reply_id": running and running.pk,
        "preview": last.content[:120] if last else "",
    }


def talk_in(thread: Thread) -> None:
    """Store messages that are long, running, without a word, and on another branch."""
    question = thread.messages.create(sender=Sender.USER, content=f"{thread.pk} {LONG}")
    for number in range(thread.pk % 3):
        running = thread.pk % 2 and not number
        status = MessageStatus.GENERATING if running else MessageStatus.COMPLETE
        content = "" if thread.pk % 4 == 1 else f"\U0001f999 {LONG}"
        reply = thread.messages.create(
            sender=Sender.BOT, parent=question, status=status, content=content
        )
        if thread.pk % 5 and not number:
            Thread.all_objects.filter(pk=thread.pk).update(current_message=reply)


def test_threads_in_list_has_those_that_are_there(ann: User, thread: Thread) -> None:
    made = [Thread.objects.create(user=ann, model="tiny") for _ in range(12)]
    for hidden in ({"deleted_at": NOW}, {"expires_at": NOW}):
        made.append(Thread.all_objects.create(user=ann, model="tiny", **hidden))
    for one in made:
        talk_in(one)
    ids = [one.pk for one in made]

    found = statements.threads_in_list([*ids, 10**9])

    twins = Thread.objects.filter(pk__in=ids)
    assert {row.pk: fields_of(row) for row in found} == {t.pk: in_list(t) for t in twins}
    assert len(found) == 12
    assert statements.threads_in_list([]) == []


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
    for one in Thread.all_objects.filter(user=ann):
        talk_in(one)
    listed = ann.threads.filter(archived=archived).order_by("-pinned", "-updated_at", "-pk")
    twin = [in_list(one) for one in listed]
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

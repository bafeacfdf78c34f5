"""What keeps the search index true, whoever changes a text."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.cleanup import delete_hidden_users
from accounts.models import User
from chat import statements
from chat.branches import fork
from chat.cleanup import delete_hidden_threads
from chat.models import Message, MessageTerms, Sender, Thread, UnindexedText
from chat.search import index
from chat.tests.searching import check_index, found, index_all, write_now
from core import cleanup, sql
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


# --- What changes texts --------------------------------------------------------------------------


def test_rows_that_are_written_without_the_orm_are_indexed(ann: User, thread: Thread) -> None:
    (message,) = write_now(thread, "a llama")
    thread.current_message_id = message.pk
    thread.save()

    copy = fork(ann, thread.pk, message.pk)
    sql.execute("UPDATE chat_message SET content = %s WHERE thread_id = %s", "alpacas", copy.pk)
    sql.execute("UPDATE chat_thread SET title = %s WHERE id = %s", "alpacas", copy.pk)

    assert found(ann, "llama") == 1
    assert found(ann, "alpaca") == 2
    check_index()


def delete_by_orm(messages: list[Message]) -> None:
    Message.objects.filter(pk__in=[message.pk for message in messages]).delete()


def delete_by_sql(messages: list[Message]) -> None:
    statements.delete_messages([message.pk for message in messages])


def delete_the_thread(messages: list[Message]) -> None:
    Thread.objects.filter(pk=messages[0].thread_id).update(deleted_at="2026-01-01T00:00:00Z")
    cleanup.run([lambda _: delete_hidden_threads(2)])


def delete_the_user(messages: list[Message]) -> None:
    messages[0].thread.user.delete()
    cleanup.run([lambda _: delete_hidden_threads(2), lambda _: delete_hidden_users(2)])


@pytest.mark.parametrize(
    "delete", [delete_by_orm, delete_by_sql, delete_the_thread, delete_the_user]
)
def test_nothing_is_left_of_what_is_deleted(
    ann: User, thread: Thread, delete: Callable[[list[Message]], None]
) -> None:
    messages = write_now(thread, *["a secret llama"] * 5)
    bob = create_user("bob")
    write_now(Thread.objects.create(user=bob, model="tiny", title="yak"), "yak")
    thread.title = "secret"
    thread.save()
    index_all()
    assert MessageTerms.objects.count() == 6
    write_now(thread, "another secret that is not indexed yet").pop().delete()

    delete(messages)
    index_all()

    assert {terms.terms for terms in MessageTerms.objects.all()} == {"yak"}
    check_index()


def test_a_text_that_is_deleted_while_it_is_indexed_leaves_nothing(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = write_now(thread, "gone", "kept")
    original = index.terms_of

    def delete_first(text: str) -> str:
        Message.objects.filter(pk=gone.pk).delete()
        return original(text)

    monkeypatch.setattr(index, "terms_of", delete_first)
    index.index_some()
    monkeypatch.undo()
    index_all()

    assert [terms.pk for terms in MessageTerms.objects.all()] == [kept.pk]
    check_index()


def test_a_text_that_is_changed_while_it_is_indexed_is_indexed_as_it_is_then(
    ann: User, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    (message,) = write_now(thread, "old")
    original = index.terms_of

    def change_first(text: str) -> str:
        monkeypatch.undo()
        terms = original(text)  # of the old text
        Message.objects.filter(pk=message.pk).update(content="new")
        index_all()  # by another process, which sees the new one
        return terms

    monkeypatch.setattr(index, "terms_of", change_first)
    index_all()

    assert (found(ann, "new"), found(ann, "old")) == (1, 0)
    check_index()


def test_several_processes_index_every_text_once_and_lose_none(ann: User, thread: Thread) -> None:
    write_now(thread, *[f"word{number} llama" for number in range(300)])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(index_all_in_thread) for _ in range(4)]:
            done.result()

    assert not UnindexedText.objects.exists()
    assert MessageTerms.objects.count() == 300
    check_index()


def index_all_in_thread() -> None:
    try:
        index_all()
    finally:
        connection.close()


def test_a_text_of_any_size_is_indexed(ann: User, thread: Thread) -> None:
    words = " ".join(f"w{number:x}{'ü' * 40}" for number in range(30_000))
    write_now(thread, words, "😀" * 100_000, "x" * 1_000_000, "\n" * 1000)

    index_all()

    assert found(ann, "x" * 20) == 1
    check_index()


# --- The queue -----------------------------------------------------------------------------------


def test_a_search_finds_what_was_just_written_although_others_have_written_much(
    ann: User, thread: Thread
) -> None:
    bob = create_user("bob")
    theirs = Thread.objects.create(user=bob, model="tiny")
    Message.objects.bulk_create(
        Message(thread=theirs, sender=Sender.USER, content=f"llama {number}")
        for number in range(900)
    )
    write_now(thread, "a llama")

    assert found(ann, "llama") == 1
    assert UnindexedText.objects.count() == 900


def test_a_failure_leaves_the_queue_as_it_was(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_now(thread, "one", "two")

    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(index, "_store", fail)
    with pytest.raises(ZeroDivisionError):
        index.index_some()
    monkeypatch.undo()

    assert UnindexedText.objects.count() == 2
    assert not MessageTerms.objects.exists()


def test_within_a_transaction_that_fails_nothing_is_queued(thread: Thread) -> None:
    with transaction.atomic():
        write_now(thread, "one")
        transaction.set_rollback(True)

    assert not UnindexedText.objects.exists()

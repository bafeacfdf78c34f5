"""What keeps the search index true, whoever changes a text, and what rebuilds it."""

import signal
import subprocess
import sys
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
from chat.models import Message, MessageTerms, Sender, Thread, TitleTerms, UnindexedText
from chat.search import database, index
from chat.search.find import find
from core import cleanup, sql
from testing.people import create_user
from testing.processes import ROOT
from testing.waiting import wait_until

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


def write(thread: Thread, *texts: str) -> list[Message]:
    return [
        Message.objects.create(thread=thread, sender=Sender.USER, content=text) for text in texts
    ]


def index_all() -> None:
    while index.index_some():
        pass


def found(user: User, text: str) -> int:
    return len(find(user, text, 100, "")[0])


def check_index() -> None:
    """Assert that the index has what the tables of terms have, and these what the texts have."""
    if connection.vendor == "sqlite":
        for table in ("chat_messageterms", "chat_titleterms"):
            # It raises an error where they differ.
            check = f"INSERT INTO {table}_index ({table}_index, rank) VALUES (%s, 1)"  # noqa: S608
            sql.execute(check, "integrity-check")
    texts = Message.objects.exclude(status="generating").values_list("pk", "content")
    expected = {pk: index.terms_of(text) for pk, text in texts if index.terms_of(text)}
    assert dict(MessageTerms.objects.values_list("pk", "terms")) == expected
    titles = Thread.all_objects.values_list("pk", "title")
    expected = {pk: index.terms_of(text) for pk, text in titles if index.terms_of(text)}
    assert dict(TitleTerms.objects.values_list("pk", "terms")) == expected


# --- What changes texts --------------------------------------------------------------------------


def test_rows_that_are_written_without_the_orm_are_indexed(ann: User, thread: Thread) -> None:
    (message,) = write(thread, "a llama")
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
    messages = write(thread, *["a secret llama"] * 5)
    bob = create_user("bob")
    write(Thread.objects.create(user=bob, model="tiny", title="kept"), "kept")
    thread.title = "secret"
    thread.save()
    index_all()
    assert MessageTerms.objects.count() == 6
    write(thread, "another secret that is not indexed yet").pop().delete()

    delete(messages)
    index_all()

    assert {terms.terms for terms in MessageTerms.objects.all()} == {"kept"}
    check_index()


def test_a_text_that_is_deleted_while_it_is_indexed_leaves_nothing(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = write(thread, "gone", "kept")
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
    (message,) = write(thread, "old")
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
    write(thread, *[f"word{number} llama" for number in range(300)])

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
    write(thread, words, "😀" * 100_000, "x" * 1_000_000, "\n" * 1000)

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
    write(thread, "a llama")

    assert found(ann, "llama") == 1
    assert UnindexedText.objects.count() == 900


def test_a_failure_leaves_the_queue_as_it_was(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(thread, "one", "two")

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
        write(thread, "one")
        transaction.set_rollback(True)

    assert not UnindexedText.objects.exists()


# --- What makes it anew --------------------------------------------------------------------------


def test_an_index_that_is_made_later_gets_all_texts(ann: User, thread: Thread) -> None:
    write(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    UnindexedText.objects.all().delete()  # as of a version without a search
    for name in ("chat_messageterms_index", "chat_titleterms_index"):
        kind = "TABLE" if connection.vendor == "sqlite" else "INDEX"
        sql.execute(f"DROP {kind} {name}")

    database.install()

    assert found(ann, "llama") == 2
    check_index()


def test_installing_it_again_changes_nothing(ann: User, thread: Thread) -> None:
    write(thread, "a llama")
    index_all()

    database.install()
    database.install()

    assert not UnindexedText.objects.exists()
    assert found(ann, "llama") == 1
    write(thread, "another llama")
    assert UnindexedText.objects.count() == 1


def test_triggers_that_a_migration_has_dropped_are_made_again(ann: User, thread: Thread) -> None:
    if connection.vendor == "sqlite":  # which drops them with the table
        for name in sql.column("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            if name.startswith("chat_"):
                sql.execute(f"DROP TRIGGER {name}")
    else:
        sql.execute("DROP FUNCTION chat_queue_message, chat_queue_title CASCADE")

    database.install()

    write(thread, "a llama").pop()
    assert found(ann, "llama") == 1
    check_index()


def test_a_rebuild_replaces_what_is_wrong(ann: User, thread: Thread) -> None:
    messages = write(thread, *[f"llama {number}" for number in range(25)])
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    index_all()
    MessageTerms.objects.filter(pk=messages[0].pk).delete()
    MessageTerms.objects.filter(pk=messages[1].pk).update(terms="alpaca")
    TitleTerms.objects.all().delete()

    steps = list(index.rebuild())

    assert steps[-1][0] == steps[-1][1]
    check_index()
    assert found(ann, "llama") == 26
    assert found(ann, "alpaca") == 0


def test_while_it_is_rebuilt_everything_is_found_and_what_is_written_is_too(
    ann: User, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "REBUILD_BATCH", 3)
    write(thread, *["llama"] * 10)
    index_all()

    for number, _ in enumerate(index.rebuild()):
        assert found(ann, "llama") == 10 + number
        write(thread, "llama")

    assert found(ann, "llama") > 13
    check_index()


def test_an_empty_database_is_rebuilt_in_no_time(each_database: None) -> None:
    list(index.rebuild())


# --- The processes -------------------------------------------------------------------------------


@pytest.fixture
def environment(server_environment: dict[str, str], each_database: None) -> dict[str, str]:
    """The settings of processes on the same database."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{settings['NAME']}"
    else:
        url = f"postgres://{settings['USER']}@127.0.0.1:{settings['PORT']}/{settings['NAME']}"
    return {**server_environment, "DATABASE_URL": url}


def rebuild_command(environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "rebuildsearch"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_command_rebuilds_it(ann: User, thread: Thread, environment: dict[str, str]) -> None:
    write(thread, *["llama"] * 10)
    index_all()
    MessageTerms.objects.all().delete()

    with rebuild_command(environment) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert output.endswith("100 %\nThe search index is complete.\n")
    check_index()


def test_a_rebuild_that_is_killed_leaves_nothing_half(
    ann: User, thread: Thread, environment: dict[str, str]
) -> None:
    Message.objects.bulk_create(
        Message(thread=thread, sender=Sender.USER, content=f"llama {number} " + "word " * 50)
        for number in range(3_000)
    )
    index_all()
    MessageTerms.objects.filter(message__gte=0).update(terms="llama")

    with rebuild_command(environment) as process:
        wait_until(lambda: MessageTerms.objects.exclude(terms="llama").exists(), 60)
        process.send_signal(signal.SIGKILL)
    rebuilt = MessageTerms.objects.exclude(terms="llama").count()

    assert 0 < rebuilt < 3_000
    assert MessageTerms.objects.count() == 3_000
    assert len(find(ann, "llama", 100, "")[0]) == 100
    list(index.rebuild())
    check_index()

"""What makes the search index anew: at an installation, and by `manage.py rebuildsearch`."""

import signal
import subprocess
import sys

import pytest
from django.db import connection

from accounts.models import User
from chat.models import Message, MessageTerms, Sender, Thread, TitleTerms, UnindexedText
from chat.search import database, index
from chat.search.find import find
from chat.tests.searching import check_index, found, index_all, write_now
from core import sql
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


# --- What makes it anew --------------------------------------------------------------------------


def test_an_index_that_is_made_later_gets_all_texts(ann: User, thread: Thread) -> None:
    write_now(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    UnindexedText.objects.all().delete()  # as of a version without a search
    for name in ("chat_messageterms_index", "chat_titleterms_index"):
        kind = "TABLE" if connection.vendor == "sqlite" else "INDEX"
        sql.execute(f"DROP {kind} {name}")

    database.install()

    assert found(ann, "llama") == 2
    check_index()


def test_installing_the_index_again_changes_nothing(ann: User, thread: Thread) -> None:
    write_now(thread, "a llama")
    index_all()

    database.install()
    database.install()

    assert not UnindexedText.objects.exists()
    assert found(ann, "llama") == 1
    write_now(thread, "another llama")
    assert UnindexedText.objects.count() == 1


def test_triggers_that_a_migration_has_dropped_are_made_again(ann: User, thread: Thread) -> None:
    if connection.vendor == "sqlite":  # which drops them with the table
        for name in sql.column("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            if name.startswith("chat_"):
                sql.execute(f"DROP TRIGGER {name}")
    else:
        sql.execute("DROP FUNCTION chat_queue_message, chat_queue_title CASCADE")

    database.install()

    write_now(thread, "a llama").pop()
    assert found(ann, "llama") == 1
    check_index()


def test_a_rebuild_replaces_what_is_wrong(ann: User, thread: Thread) -> None:
    messages = write_now(thread, *[f"llama {number}" for number in range(25)])
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    index_all()
    MessageTerms.objects.filter(pk=messages[0].pk).delete()
    MessageTerms.objects.filter(pk=messages[1].pk).update(terms=index.terms_of("alpaca"))
    TitleTerms.objects.all().delete()

    steps = list(index.rebuild())

    assert steps[-1][0] == steps[-1][1]
    check_index()
    assert found(ann, "llama") == 26
    assert found(ann, "alpaca") == 0


def test_while_the_index_is_rebuilt_everything_is_found_and_what_is_written_is_too(
    ann: User, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "REBUILD_BATCH", 3)
    write_now(thread, *["llama"] * 10)
    index_all()

    for number, _ in enumerate(index.rebuild()):
        assert found(ann, "llama") == 10 + number
        write_now(thread, "llama")

    assert found(ann, "llama") > 13
    check_index()


def test_the_newest_message_may_be_deleted_while_the_index_is_rebuilt(
    ann: User, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "REBUILD_BATCH", 3)
    messages = write_now(thread, *["llama"] * 6)
    steps = index.rebuild()
    next(steps)  # the title
    next(steps)  # the first three messages

    Message.objects.filter(pk__gt=messages[2].pk).delete()

    list(steps)
    assert found(ann, "llama") == 3
    check_index()


def test_an_empty_database_is_rebuilt_in_no_time(each_database: None) -> None:
    list(index.rebuild())


# --- The processes -------------------------------------------------------------------------------


@pytest.fixture
def environment(server_environment: dict[str, str], database_url: str) -> dict[str, str]:
    """The settings of processes on the same database."""
    return {**server_environment, "DATABASE_URL": database_url}


def rebuild_command(environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "rebuildsearch"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_command_rebuilds_the_index(
    ann: User, thread: Thread, environment: dict[str, str]
) -> None:
    write_now(thread, *["llama"] * 10)
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
    MessageTerms.objects.filter(message__gte=0).update(terms=index.terms_of("llama"))

    with rebuild_command(environment) as process:
        wait_until(lambda: MessageTerms.objects.exclude(terms=index.terms_of("llama")).exists(), 60)
        process.send_signal(signal.SIGKILL)
    rebuilt = MessageTerms.objects.exclude(terms=index.terms_of("llama")).count()

    assert 0 < rebuilt < 3_000
    assert MessageTerms.objects.count() == 3_000
    assert len(find(ann, "llama", 100, "")[0]) == 100
    list(index.rebuild())
    check_index()

"""Locks on PostgreSQL: all who change the same rows at the same moment get there in the end."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

import core.cleanup
from chat import cleanup, statements, threads
from chat.models import Message, MessageStatus, Sender, Thread, UnindexedText
from chat.replies import store
from chat.replies.owner import this_process
from chat.search import index
from core import sql
from testing.people import create_user
from testing.waiting import wait_until

# SQLite has one writer.
pytestmark = [
    pytest.mark.usefixtures("postgresql"),
    pytest.mark.parametrize("each_database", ["postgresql"], indirect=True),
]


@pytest.fixture
def replies(each_database: None) -> list[Message]:
    """Running replies of this process, each in a thread of its own."""
    ann = create_user("ann")
    return [
        Message.objects.create(
            thread=Thread.objects.create(user=ann, title="A title"),
            sender=Sender.BOT,
            status=MessageStatus.GENERATING,
            owner=this_process(),
        )
        for _ in range(3)
    ]


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """A thread with a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def somebody_waits() -> bool:
    return bool(sql.column("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")[0])


def store_texts(replies: list[Message]) -> None:
    ids = [reply.pk for reply in replies]
    store.save_checkpoint(ids, [(pk, "One", "", 1) for pk in ids], {})


def delete_threads() -> None:
    threads.delete(Thread.objects.all())


def clean_up() -> None:
    Thread.all_objects.update(deleted_at="2020-01-01T00:00:00Z")
    core.cleanup.run([cleanup.delete_hidden_threads])


@pytest.mark.parametrize("delete", [delete_threads, clean_up])
def test_threads_are_deleted_while_the_texts_of_their_replies_are_stored(
    replies: list[Message], elsewhere: ThreadPoolExecutor, delete: Callable[[], None]
) -> None:
    with transaction.atomic():
        store_texts(replies)
        deletion = elsewhere.submit(delete)
        wait_until(somebody_waits)

    deletion.result()
    assert not Thread.objects.exists()


def test_a_deletion_that_comes_first_is_waited_for(
    replies: list[Message], elsewhere: ThreadPoolExecutor
) -> None:
    with transaction.atomic():
        delete_threads()
        storing = elsewhere.submit(store_texts, replies)
        wait_until(somebody_waits)

    storing.result()
    assert not Message.objects.generating().exists()


def test_messages_are_deleted_while_they_are_indexed(
    replies: list[Message], elsewhere: ThreadPoolExecutor
) -> None:
    """The last of them is in the index already, the others are new there."""
    *others, last = ids = [reply.pk for reply in replies]
    Message.objects.filter(pk=last).update(status=MessageStatus.COMPLETE, content="One")
    while index.index_some():
        pass
    Message.objects.filter(pk__in=ids).update(status=MessageStatus.COMPLETE, content="Two")

    def index_all() -> None:
        while index.index_some():
            pass

    with transaction.atomic():
        statements.delete_messages(others)
        indexing = elsewhere.submit(index_all)
        wait_until(somebody_waits)
        statements.delete_messages([last])

    indexing.result()
    assert not UnindexedText.objects.exists()

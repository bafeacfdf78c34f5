"""A thread's branches: which is read, which is current, and what siblings a message has."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from chat import branches
from chat.models import Message, Thread
from testing.answers import error_of
from testing.people import Caller, create_user
from testing.trees import chain, grow

# 0 user ─┬─ 1 bot ─┬─ 2 user ── 3 bot
#         │         └─ 6 user ── 7 bot
#         └─ 4 bot ── 5 user
# 8 user
TREE = [None, 0, 1, 2, 0, 4, 1, 6, None]


def messages_of(caller: Caller, thread: Thread, **query: Any) -> list[dict[str, Any]]:
    """Return a page of a thread's messages."""
    answer = caller.get(f"/chat/threads/{thread.pk}/messages/", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages]


def switch(caller: Caller, thread: Thread, message: int) -> Any:
    return caller.put(f"/chat/threads/{thread.pk}/branch/", json={"message_id": message})


@pytest.fixture
def tree(ann: Caller) -> list[Message]:
    return grow(ann.thread(), TREE)


@pytest.fixture
def thread(tree: list[Message]) -> Thread:
    return tree[0].thread


def test_the_newest_message_ends_the_branch_of_a_thread_that_knows_none(
    ann: Caller, thread: Thread
) -> None:
    assert contents(messages_of(ann, thread)) == ["8"]


@pytest.mark.parametrize(
    ("through", "branch"),
    [(0, "0 1 6 7"), (1, "0 1 6 7"), (2, "0 1 2 3"), (3, "0 1 2 3"), (4, "0 4 5"), (8, "8")],
)
def test_the_newest_branch_through_a_message_becomes_the_current_one(
    ann: Caller, thread: Thread, tree: list[Message], through: int, branch: str
) -> None:
    answer = switch(ann, thread, tree[through].pk)

    assert answer.status_code == 200
    last = messages_of(ann, thread)[-1]
    assert answer.json()["current_message_id"] == last["id"]
    assert answer.json() == ann.get(f"/chat/threads/{thread.pk}/").json()
    assert contents(messages_of(ann, thread)) == branch.split()


def test_another_branch_is_read_without_becoming_the_current_one(
    ann: Caller, thread: Thread, tree: list[Message]
) -> None:
    switch(ann, thread, tree[5].pk)

    assert contents(messages_of(ann, thread, leaf=tree[3].pk)) == ["0", "1", "2", "3"]
    assert contents(messages_of(ann, thread, leaf=tree[2].pk)) == ["0", "1", "2"]
    assert contents(messages_of(ann, thread)) == ["0", "4", "5"]


def test_a_branch_is_read_page_by_page(ann: Caller, thread: Thread, tree: list[Message]) -> None:
    url, pages = f"/chat/threads/{thread.pk}/messages/", []
    cursor: str | None = ""
    while cursor is not None:
        query: dict[str, str | int] = {"leaf": tree[7].pk, "limit": 3, "cursor": cursor}
        page = ann.get(url, params=query).json()
        pages.append(contents(page["messages"]))
        cursor = page["next"]

    assert pages == [["1", "6", "7"], ["0"]]


def test_the_siblings_of_a_message_come_in_the_order_in_which_they_were_made(
    ann: Caller, thread: Thread, tree: list[Message]
) -> None:
    found = messages_of(ann, thread, leaf=tree[7].pk)

    ids = [message.pk for message in tree]
    assert [message["sibling_ids"] for message in found] == [
        [ids[0], ids[8]],
        [ids[1], ids[4]],
        [ids[2], ids[6]],
        [ids[7]],
    ]


def test_a_whole_reply_has_its_siblings_too(ann: Caller, thread: Thread) -> None:
    answer = ann.post(f"/chat/response/{thread.pk}/", json={"message": "Hello"})

    message = answer.json()["message"]
    assert message["sibling_ids"] == [message["id"]]


def test_a_new_thread_has_no_current_message(ann: Caller) -> None:
    made = ann.post("/chat/threads/new/").json()["thread"]

    assert made["current_message_id"] is None


def test_a_send_makes_its_branch_the_current_one(
    ann: Caller, thread: Thread, tree: list[Message]
) -> None:
    switch(ann, thread, tree[3].pk)

    ann.say(thread, "And then?")

    assert contents(messages_of(ann, thread)) == [
        "0",
        "1",
        "2",
        "3",
        "And then?",
        "You said: And then?",
    ]


class TestIdsOfOthers:
    """Ids of another thread or user are those of no message."""

    @pytest.fixture(params=["another thread", "another user", "nobody"])
    def foreign(self, request: pytest.FixtureRequest, ann: Caller, bob: Caller) -> int:
        owner = {"another thread": ann, "another user": bob}.get(request.param)
        return grow(owner.thread(), [None])[0].pk if owner else 2**62

    def test_no_branch_ends_in_one(self, ann: Caller, thread: Thread, foreign: int) -> None:
        answer = ann.get(f"/chat/threads/{thread.pk}/messages/", params={"leaf": foreign})

        error_of(answer, 404, "not_found")

    def test_no_branch_goes_through_one(self, ann: Caller, thread: Thread, foreign: int) -> None:
        error_of(switch(ann, thread, foreign), 404, "not_found")
        assert Thread.objects.get(pk=thread.pk).current_message_id is None

    def test_no_message_of_another_thread_is_deleted(
        self, ann: Caller, thread: Thread, foreign: int
    ) -> None:
        number = Message.objects.count()

        answer = ann.delete(f"/chat/threads/{thread.pk}/messages/{foreign}/")

        error_of(answer, 404, "not_found")
        assert Message.objects.count() == number

    def test_no_message_of_another_thread_is_copied(
        self, ann: Caller, thread: Thread, foreign: int
    ) -> None:
        number = Thread.objects.count()

        answer = ann.post(f"/chat/threads/{thread.pk}/fork/", json={"message_id": foreign})

        error_of(answer, 404, "not_found")
        assert Thread.objects.count() == number


@contextmanager
def steps() -> Iterator[list[int]]:
    """Count the steps of SQLite's virtual machine, in thousands at the end."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    connection.ensure_connection()
    database: sqlite3.Connection = connection.connection
    database.set_progress_handler(count, 100)
    try:
        yield counted
    finally:
        database.set_progress_handler(None, 100)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="steps are those of SQLite")
@pytest.mark.usefixtures("database")
class TestLargeTrees:
    """What a page costs is known to the step."""

    def cost(self, thread: Thread) -> int:
        with steps() as counted:
            assert len(branches.page(thread, 20, "", None)[0]) == 20
        return counted[0]

    def test_a_page_costs_the_same_in_a_deep_tree(self) -> None:
        user = create_user("ann")
        short, deep = (Thread.objects.create(user=user, model="m") for _ in range(2))
        grow(short, chain(40))
        grow(deep, chain(10_000))

        assert self.cost(deep) <= 1.1 * self.cost(short) + 1

    def test_a_page_costs_the_same_with_many_other_branches(self) -> None:
        user = create_user("ann")
        few, many = (Thread.objects.create(user=user, model="m") for _ in range(2))
        grow(few, chain(40))
        # A thousand replies to the first message, each followed by another.
        wide: list[int | None] = [None]
        for branch in range(1000):
            wide += [0, 1 + 2 * branch]
        grow(many, [*wide, *range(len(wide) - 1, len(wide) + 29)])

        assert self.cost(many) <= 1.1 * self.cost(few) + 1

    def test_the_first_page_of_a_thousand_siblings_has_them_all(self) -> None:
        thread = Thread.objects.create(user=create_user("ann"), model="m")
        grow(thread, [None] + [0] * 1000)

        (reply, question), _ = branches.page(thread, 20, "", None)

        assert len(reply.sibling_ids) == 1000
        assert question.sibling_ids == [question.pk]

"""Statements that walk trees, beside walks in Python over trees of any shape."""

import random

import pytest

from chat import statements
from chat.models import Message, Thread
from testing.people import create_user
from testing.trees import grow
from testing.twins import assert_same

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture(params=range(5))
def tree(request: pytest.FixtureRequest, each_database: None) -> list[Message]:
    dice = random.Random(request.param)  # noqa: S311
    user = create_user("ann")
    other, thread = (Thread.objects.create(user=user, model="m") for _ in range(2))
    grow(other, [None, 0, 1])
    parents = [dice.choice([None, *range(number)]) for number in range(40)]
    tree = grow(thread, parents)
    grow(other, [None, 0, 1])
    return tree


def below(tree: list[Message], top: int | None) -> set[int]:
    """Return the ids of a message and of all that follow it."""
    found = set() if top is None else {top}
    for message in tree:
        if message.parent_id in found or (top is None and message.parent_id is None):
            found.add(message.pk)
    return found


def way_back(tree: list[Message], end: int) -> list[int]:
    """Return the ids from a message back to its root."""
    parents = {message.pk: message.parent_id for message in tree}
    path: list[int] = []
    at: int | None = end
    while at is not None:
        path.append(at)
        at = parents[at]
    return path


def test_a_page_of_a_branch_is_the_way_back_from_its_end(tree: list[Message]) -> None:
    thread = tree[0].thread_id
    for message in tree:
        page = statements.page_of_branch(thread, message.pk, 4)
        assert [m.pk for m in page] == way_back(tree, message.pk)[:4]


def test_below_a_message_are_all_that_follow_it(tree: list[Message]) -> None:
    for message in tree:
        ids = statements.ids_below(message.thread_id, message.pk)
        assert ids == sorted(below(tree, message.pk))


def test_the_newest_below_a_message_ends_its_newest_branch(tree: list[Message]) -> None:
    for message in tree:
        newest = statements.newest_below(message.thread_id, message.pk)
        assert newest == max(below(tree, message.pk))


def test_the_newest_below_a_message_may_leave_a_part_out(tree: list[Message]) -> None:
    for message in tree:
        newest = statements.newest_below(message.thread_id, message.parent_id, but=message.pk)
        rest = below(tree, message.parent_id) - below(tree, message.pk)
        assert newest == max(rest, default=None)


def test_messages_of_another_thread_are_not_found(tree: list[Message]) -> None:
    other = Thread.objects.exclude(pk=tree[0].thread_id).get().pk
    for message in tree[:5]:
        assert statements.page_of_branch(other, message.pk, 4) == []
        assert statements.ids_below(other, message.pk) == []
        assert statements.newest_below(other, message.pk) is None


def test_a_copied_path_has_the_same_messages_one_after_the_other(tree: list[Message]) -> None:
    user = tree[0].thread.user
    for message in tree[::7]:
        copy = Thread.objects.create(user=user, model="m")
        statements.copy_path(message.thread_id, message.pk, copy.pk)

        copies = list(copy.messages.order_by("pk"))
        way = way_back(tree, message.pk)[::-1]
        texts = dict(Message.objects.values_list("pk", "content"))
        assert [m.content for m in copies] == [texts[pk] for pk in way]
        assert [m.parent_id for m in copies] == [None, *(m.pk for m in copies[:-1])]


def test_set_parents_has_messages_follow_others(tree: list[Message]) -> None:
    root, one, two, *_ = (message.pk for message in tree)
    pairs = [(one, root), (two, one), (2**40, root)]

    def twin() -> None:
        for message, parent in pairs:
            Message.objects.filter(pk=message).update(parent=parent)

    assert_same(lambda: statements.set_parents(pairs), twin, Message.objects.all())
    statements.set_parents(pairs)
    assert Message.objects.get(pk=two).parent_id == one

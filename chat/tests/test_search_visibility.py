"""Who finds what, and when the search index knows of it."""

from typing import Any

import pytest

from accounts.models import User
from chat.models import Message, MessageStatus, Sender, Thread
from chat.search.find import Result
from chat.tests.searching import NOON, find, ids, write
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


# --- Whose ------------------------------------------------------------------------------------


def test_nobodys_words_are_found_by_another(ann: User, thread: Thread) -> None:
    bob = create_user("bob")
    theirs = Thread.objects.create(user=bob, model="tiny", title="secret llamas")
    write(theirs, "a secret of bob's")
    write(thread, "nothing")

    for query in ("secret", "s", "bob", '"a secret"', "llamas"):
        assert find(ann, query) == []
    assert len(find(bob, "secret")) == 2


def test_users_whose_numbers_begin_alike_are_told_apart(each_database: None) -> None:
    users = [create_user(f"user{number}", id=number) for number in (7, 71, 711, 17)]
    for user in users:
        write(Thread.objects.create(user=user, model="tiny"), f"word of {user.pk}", "7:word 1:x")

    for user in users:
        assert {result.thread_id for result in find(user, "word")} == {user.threads.get().pk}


@pytest.mark.parametrize(
    "hidden",
    [{"deleted_at": NOON}, {"expires_at": NOON}],
)
def test_a_deleted_or_expired_thread_is_not_found(
    ann: User, thread: Thread, hidden: dict[str, Any]
) -> None:
    write(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    assert len(find(ann, "llama")) == 2

    Thread.objects.filter(pk=thread.pk).update(**hidden)

    assert find(ann, "llama") == []


def test_an_archived_thread_is_found(ann: User, thread: Thread) -> None:
    write(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(archived=True)

    assert len(find(ann, "llama")) == 1


# --- When the index knows -----------------------------------------------------------------------


def test_a_reply_is_found_when_it_has_ended_and_not_before(ann: User, thread: Thread) -> None:
    (reply,) = write(
        thread, "half a", sender=Sender.BOT, status=MessageStatus.GENERATING, model="tiny"
    )
    assert ids(ann, "half") == []

    Message.objects.filter(pk=reply).update(content="half a llama")
    assert ids(ann, "llama") == []
    Message.objects.filter(pk=reply).update(status=MessageStatus.STOPPED)

    assert ids(ann, "llama") == [reply]


def test_a_reply_that_goes_on_is_found_by_what_it_says_then(ann: User, thread: Thread) -> None:
    (reply,) = write(thread, "one two", sender=Sender.BOT, status=MessageStatus.STOPPED)
    assert ids(ann, "two") == [reply]

    message = Message.objects.filter(pk=reply)
    message.update(status=MessageStatus.GENERATING)
    message.update(content="one two three")
    message.update(status=MessageStatus.COMPLETE)

    assert ids(ann, "three") == [reply]
    assert ids(ann, "one") == [reply]


def test_a_text_that_was_changed_is_found_by_its_new_words_only(ann: User, thread: Thread) -> None:
    (message,) = write(thread, "an alpaca")
    assert ids(ann, "alpaca") == [message]

    Message.objects.filter(pk=message).update(content="a llama")

    assert ids(ann, "llama") == [message]
    assert ids(ann, "alpaca") == []
    Message.objects.filter(pk=message).update(content="!")
    assert ids(ann, "llama") == []


def test_titles_are_found_by_what_they_are_now(ann: User) -> None:
    thread = Thread.objects.create(user=ann, model="tiny", title="About llamas", created_at=NOON)

    (result,) = find(ann, "llamas")
    assert result == Result(thread.pk, "About llamas", None, None, NOON, "About llamas", [[6, 12]])

    Thread.objects.filter(pk=thread.pk).update(title="About alpacas")
    assert find(ann, "llamas") == []
    assert len(find(ann, "alpacas")) == 1
    Thread.objects.filter(pk=thread.pk).update(title="")
    assert find(ann, "alpacas") == []

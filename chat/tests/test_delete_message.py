"""DELETE /chat/threads/<id>/messages/<id>/: a message goes with all that follows it."""

from collections.abc import Sequence

import httpx
import pytest

from chat import branches
from chat.models import Message, Send, Thread, Usage
from testing.answers import error_of
from testing.people import Caller
from testing.races import at_once
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.trees import chain, grow

# 0 user ─┬─ 1 bot ─┬─ 2 user ── 3 bot
#         │         └─ 6 user ── 7 bot
#         └─ 4 bot ── 5 user
# 8 user
TREE = [None, 0, 1, 2, 0, 4, 1, 6, None]


def delete(caller: Caller, message: Message) -> httpx.Response:
    return caller.delete(f"/chat/threads/{message.thread_id}/messages/{message.pk}/")


def left_of(tree: Sequence[Message]) -> str:
    """Return what the messages say that are left, oldest first."""
    left = Message.objects.filter(thread=tree[0].thread_id).order_by("pk")
    return " ".join(left.values_list("content", flat=True))


@pytest.fixture
def tree(ann: Caller) -> list[Message]:
    return grow(ann.thread(), TREE)


@pytest.mark.parametrize(
    ("deleted", "left"),
    [
        (0, "8"),
        (1, "0 4 5 8"),
        (2, "0 1 4 5 6 7 8"),
        (4, "0 1 2 3 6 7 8"),
        (7, "0 1 2 3 4 5 6 8"),
        (8, "0 1 2 3 4 5 6 7"),
    ],
)
def test_a_message_goes_with_all_that_follows_it(
    ann: Caller, tree: list[Message], deleted: int, left: str
) -> None:
    answer = delete(ann, tree[deleted])

    assert answer.json() == {"status": "Message deleted successfully"}
    assert left_of(tree) == left
    error_of(delete(ann, tree[deleted]), 404, "not_found")


@pytest.mark.parametrize(
    ("current", "deleted", "now"),
    [
        (3, 2, 7),  # another branch below the same message
        (3, 1, 5),
        (7, 0, 8),  # another root
        (5, 5, 4),  # the message before it
        (3, 6, 3),  # what is elsewhere changes nothing
        (None, 8, 7),  # it was the newest, where no other end was known
    ],
)
def test_the_newest_branch_that_is_left_beside_it_becomes_the_current_one(
    ann: Caller, tree: list[Message], current: int | None, deleted: int, now: int
) -> None:
    thread = Thread.objects.filter(pk=tree[0].thread_id)
    thread.update(current_message=None if current is None else tree[current].pk)

    delete(ann, tree[deleted])

    assert thread.get().current_message_id == tree[now].pk


def test_a_thread_whose_messages_are_all_deleted_begins_anew(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Hello")
    delete(ann, thread.messages.earliest("pk"))

    assert ann.get(f"/chat/threads/{thread.pk}/").json()["current_message_id"] is None
    assert ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"] == []
    assert ann.say(thread, "Again").text == "You said: Again"


def test_the_usage_of_a_deleted_message_stays_and_its_keys_go(ann: Caller) -> None:
    thread = ann.thread()
    key = {"Idempotency-Key": "k"}
    ann.say(thread, "Hello", headers=key)
    used = Usage.objects.values().get()

    delete(ann, thread.messages.earliest("pk"))

    assert Usage.objects.values().get() == used
    assert not Send.objects.exists()
    assert ann.say(thread, "Hello", headers=key).text == "You said: Hello"


class TestWhileItIsWritten:
    """What is being written is not deleted; what else there is may be."""

    @pytest.fixture(autouse=True)
    def held(self, ollama: ScriptedOllama) -> None:
        ollama.script = Script(["one ", "two "], hold_after=1)

    def test_neither_the_reply_nor_what_it_follows_is_deleted(
        self, ann: Caller, tree: list[Message], ollama: ScriptedOllama
    ) -> None:
        thread = tree[0].thread
        Thread.objects.filter(pk=thread.pk).update(current_message=tree[3].pk)
        with sending(ann, thread) as reading:
            reading.until("one")
            question, reply = thread.messages.order_by("-pk")[:2][::-1]
            for message in (reply, question, tree[3], tree[1], tree[0]):
                error_of(delete(ann, message), 409, "reply_in_progress")
            ollama.release()
            reading.to_the_end()

        assert left_of(tree) == "0 1 2 3 4 5 6 7 8 Hello one two "
        assert delete(ann, reply).status_code == 200

    def test_another_branch_is_deleted(
        self, ann: Caller, tree: list[Message], ollama: ScriptedOllama
    ) -> None:
        thread = tree[0].thread
        Thread.objects.filter(pk=thread.pk).update(current_message=tree[3].pk)
        with sending(ann, thread) as reading:
            reading.until("one")
            assert delete(ann, tree[6]).status_code == 200
            ollama.release()
            assert "two" in reading.to_the_end()

        assert left_of(tree) == "0 1 2 3 4 5 8 Hello one two "


def test_a_branch_of_ten_thousand_messages_is_deleted(ann: Caller) -> None:
    tree = grow(ann.thread(), chain(10_000))

    assert delete(ann, tree[1]).status_code == 200

    assert left_of(tree) == "0"
    assert Thread.objects.get().current_message_id == tree[0].pk


def test_a_message_with_a_thousand_replies_is_deleted(ann: Caller) -> None:
    tree = grow(ann.thread(), [None, None, *[0] * 1000])

    assert delete(ann, tree[0]).status_code == 200

    assert left_of(tree) == "1"


@pytest.mark.usefixtures("database")
def test_half_of_a_large_deletion_leaves_a_tree(
    ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process is killed between two of its transactions."""
    monkeypatch.setattr(branches, "DELETED_AT_ONCE", 3)
    tree = grow(ann.thread(), TREE)
    user = tree[0].thread.user
    Thread.objects.update(current_message=tree[7].pk)

    assert branches.delete_newest(user, tree[0].thread_id, tree[0].pk)

    assert left_of(tree) == "0 1 2 3 4 8"
    assert Thread.objects.get().current_message_id == tree[8].pk
    assert delete(ann, tree[0]).status_code == 200
    assert left_of(tree) == "8"


def test_two_deletions_at_the_same_moment_delete_a_message_once(ann: Caller) -> None:
    for _ in range(5):
        tree = grow(ann.thread(), TREE)

        answers = at_once(*[lambda: delete(ann, tree[1]) for _ in range(4)])  # noqa: B023

        assert [answer.status_code for answer in answers] == [200, 404, 404, 404]
        assert left_of(tree) == "0 4 5 8"

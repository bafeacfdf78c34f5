"""GET /chat/threads/<id>/messages/: what was said, page by page."""

import pytest

from chat.models import Message, Sender, Thread
from testing.answers import error_of
from testing.people import Caller


def url(thread: Thread) -> str:
    return f"/chat/threads/{thread.pk}/messages/"


def messages_of(thread: Thread, number: int) -> list[int]:
    """Create messages, each following the one before; return their ids, oldest first."""
    ids = []
    newest = Message.objects.filter(thread=thread).order_by("-pk").first()
    for _ in range(number):
        newest = Message.objects.create(thread=thread, parent=newest, sender=Sender.USER)
        ids.append(newest.pk)
    return ids


def page(
    caller: Caller, thread: Thread, limit: int, cursor: str | None = ""
) -> tuple[list[int], str | None]:
    """Return one page's ids and the cursor to older ones."""
    answer = caller.get(url(thread), params={"limit": limit, "cursor": cursor or ""})
    assert answer.status_code == 200, answer.text
    return [message["id"] for message in answer.json()["messages"]], answer.json()["next"]


def test_the_list_has_both_sides_of_a_conversation(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Hello")

    answer = ann.get(url(thread))

    assert answer.status_code == 200
    question, reply = answer.json()["messages"]
    assert question["parent_id"] is None
    assert (question["sender"], question["content"]) == ("user", "Hello")
    assert question["model"] is question["usage"] is question["context"] is None
    assert question["thinking"] == ""
    assert reply["parent_id"] == question["id"]
    assert (reply["sender"], reply["content"]) == ("bot", "You said: Hello")
    assert (reply["status"], reply["model"], reply["error_code"]) == ("complete", "llama3.2", None)
    assert reply["context"].keys() == {
        "turns_kept",
        "turns_dropped",
        "characters_cut",
        "tokens",
    }
    assert reply["usage"]["completion_tokens"] == 3
    assert reply["usage"].keys() == {
        "prompt_tokens",
        "completion_tokens",
        "duration_ms",
        "first_token_ms",
    }
    assert reply["created_at"].endswith("Z")


def test_the_first_page_has_the_newest_oldest_first(ann: Caller) -> None:
    thread = ann.thread()
    ids = messages_of(thread, 5)

    newest, cursor = page(ann, thread, 2)
    older, cursor = page(ann, thread, 2, cursor)
    oldest, cursor = page(ann, thread, 2, cursor)

    assert [newest, older, oldest] == [ids[3:], ids[1:3], ids[:1]]
    assert cursor is None


def test_nothing_is_skipped_or_doubled_while_messages_come(ann: Caller) -> None:
    thread = ann.thread()
    ids = messages_of(thread, 4)

    newest, cursor = page(ann, thread, 2)
    messages_of(thread, 3)
    older, cursor = page(ann, thread, 2, cursor)

    assert older + newest == ids
    assert cursor is None


def test_a_page_has_two_hundred_messages_without_a_limit(ann: Caller) -> None:
    thread = ann.thread()
    ids = messages_of(thread, 201)

    answer = ann.get(url(thread)).json()

    assert [message["id"] for message in answer["messages"]] == ids[1:]
    assert answer["next"]


def test_an_empty_thread_has_none(ann: Caller) -> None:
    assert ann.get(url(ann.thread())).json() == {"messages": [], "next": None}


def test_a_cursor_of_another_thread_is_refused(ann: Caller) -> None:
    one, other = ann.thread(), ann.thread()
    messages_of(one, 2)
    messages_of(other, 2)
    cursor = page(ann, one, 1)[1]

    error_of(ann.get(url(other), params={"cursor": cursor}), 400, "invalid")


@pytest.mark.parametrize("limit", ["0", "201"])
def test_a_limit_out_of_its_bounds_is_refused(ann: Caller, limit: str) -> None:
    body = error_of(ann.get(url(ann.thread()), params={"limit": limit}), 400, "invalid")

    assert "limit" in body["fields"]


def test_nobody_lists_the_messages_of_somebody_elses_thread(ann: Caller, bob: Caller) -> None:
    thread = ann.thread()
    messages_of(thread, 1)

    error_of(bob.get(url(thread)), 404, "not_found")

"""PUT /chat/threads/<id>/messages/<id>/feedback/, and what operators see of it."""

import re
from typing import Any

import httpx
import pytest

from chat.models import Message
from testing.admin import Browser
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending

LIST = "/admin/chat/ratedreply/"


def rate(caller: Caller, message: Message, **body: Any) -> httpx.Response:
    url = f"/chat/threads/{message.thread_id}/messages/{message.pk}/feedback/"
    return caller.put(url, json=body)


@pytest.fixture
def reply(ann: Caller) -> Message:
    thread = ann.thread()
    ann.say(thread)
    return Message.objects.get(thread=thread, sender="bot")


def test_a_reply_is_rated(ann: Caller, reply: Message) -> None:
    answer = rate(ann, reply, rating=-1, comment="It is wrong: 🦙")

    assert answer.status_code == 200, answer.text
    feedback = answer.json()["feedback"]
    assert (feedback["rating"], feedback["comment"]) == (-1, "It is wrong: 🦙")
    listed = ann.get(f"/chat/threads/{reply.thread_id}/messages/").json()["messages"]
    assert listed[1] == answer.json()
    assert listed[0]["feedback"] is None


def test_a_rating_is_changed_and_taken_back(ann: Caller, reply: Message) -> None:
    rate(ann, reply, rating=-1, comment="Wrong")

    assert rate(ann, reply, rating=1).json()["feedback"]["comment"] == ""
    assert rate(ann, reply, rating=None, comment="Never mind").json()["feedback"] is None
    reply.refresh_from_db()
    assert (reply.rating, reply.rating_comment, reply.rated_at) == (None, "", None)


def test_a_rating_is_no_activity(ann: Caller, reply: Message) -> None:
    before = ann.get("/chat/threads/").json()

    rate(ann, reply, rating=1)

    assert ann.get("/chat/threads/").json() == before


def test_a_reply_is_rated_while_it_is_written(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(["One ", "two"], hold_after=1)
    with sending(ann, thread) as reading:
        reading.until("One")
        reply = Message.objects.get(thread=thread, sender="bot")

        assert rate(ann, reply, rating=1).status_code == 200

        ollama.release()
        reading.to_the_end()
    reply.refresh_from_db()
    assert (reply.content, reply.status, reply.rating) == ("One two", "complete", 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rating"),
        ({"rating": 0}, "rating"),
        ({"rating": 2}, "rating"),
        ({"rating": "1"}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": 1.5}, "rating"),
        ({"rating": 1, "comment": None}, "comment"),
        ({"rating": 1, "comment": "x" * 2001}, "comment"),
        ({"rating": 1, "comment": "\0"}, "comment"),
        ({"rating": 1, "stars": 5}, "stars"),
    ],
)
def test_what_is_no_rating_is_refused(
    ann: Caller, reply: Message, body: dict[str, Any], field: str
) -> None:
    assert list(error_of(rate(ann, reply, **body), 400, "invalid")["fields"]) == [field]

    reply.refresh_from_db()
    assert reply.rating is None


def test_only_replies_are_rated(ann: Caller, reply: Message) -> None:
    assert reply.parent

    error_of(rate(ann, reply.parent, rating=1), 400, "not_a_reply")


def test_a_message_of_another_thread_or_user_is_not_found(
    ann: Caller, bob: Caller, reply: Message
) -> None:
    other = ann.thread()

    url = f"/chat/threads/{other.pk}/messages/{reply.pk}/feedback/"
    error_of(ann.put(url, json={"rating": 1}), 404, "not_found")
    error_of(rate(bob, reply, rating=1), 404, "not_found")
    reply.refresh_from_db()
    assert reply.rating is None


# --- The admin -----------------------------------------------------------------------------------


def test_operators_see_the_feedback_and_its_counts_by_model(root: Browser, ann: Caller) -> None:
    thread = ann.thread()
    for model, rating in [
        ("small", 1),
        ("small", 1),
        ("small", -1),
        ("large", -1),
        ("large", None),
    ]:
        Message.objects.create(
            thread=thread,
            sender="bot",
            model=model,
            rating=rating,
            rating_comment="Look: <b>" if rating else "",
            rated_at=thread.created_at if rating else None,
        )

    def counts(query: str = "") -> list[tuple[str, ...]]:
        page = root.get(LIST + query)
        assert page.status_code == 200, page.text
        assert page.text.count("Look: &lt;b&gt;") == sum(
            int(n) for row in found(page) for n in row[1:]
        )
        return found(page)

    def found(page: httpx.Response) -> list[tuple[str, ...]]:
        return re.findall(r"<tr><td>(\w+)</td><td>(\d+)</td><td>(\d+)</td></tr>", page.text)

    assert counts() == [("large", "0", "1"), ("small", "2", "1")]
    assert counts("?rating__exact=1") == [("small", "2", "0")]
    assert counts("?q=ann") == counts()
    assert counts("?q=bob") == []


def test_a_rated_reply_can_be_read_and_not_changed(
    root: Browser, ann: Caller, reply: Message
) -> None:
    rate(ann, reply, rating=-1, comment="Wrong")
    url = f"{LIST}{reply.pk}/change/"

    page = root.get(url)

    assert page.status_code == 200
    assert "Wrong" in page.text
    error_of(root.post(url, data={"rating": "1"}), 403, "forbidden")


def test_those_who_may_not_view_messages_see_no_feedback(operator: Browser) -> None:
    error_of(operator.get(LIST), 403, "forbidden")
    assert "ratedreply" not in operator.get("/admin/").text

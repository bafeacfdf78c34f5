"""GET /chat/search/: the call. What it finds is in test_search.py."""

from typing import Any

import pytest

from chat.models import Message, MessageTerms, Sender, UnindexedText
from testing.answers import error_of
from testing.people import Caller
from testing.processes import StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.waiting import wait_until

URL = "/chat/search/"


def search(caller: Caller, q: str, **params: Any) -> dict[str, Any]:
    answer = caller.get(URL, params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_conversation_is_found_by_what_was_said_in_it(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(["Llamas ", "live ", "in the Andes."])
    ann.say(thread, "Where do llamas live?")
    question, reply = Message.objects.order_by("pk")

    body = search(ann, "andes")

    assert body["next"] is None
    (result,) = body["results"]
    assert result == {
        "thread_id": thread.pk,
        "title": "Where do llamas live?",
        "message_id": reply.pk,
        "sender": "bot",
        "created_at": result["created_at"],
        "snippet": "Llamas live in the Andes.",
        "highlights": [[19, 24]],
    }
    assert [result["message_id"] for result in search(ann, "llamas")["results"]] == [
        None,  # the title
        reply.pk,
        question.pk,
    ]


def test_a_question_is_found_while_its_reply_is_written_and_the_reply_is_not(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(title="x")
    ollama.script = Script(["Llamas ", "live"], hold_after=1)

    with sending(ann, thread, "Where do llamas live?") as reading:
        reading.until("Llamas")
        wait_until(lambda: Message.objects.filter(content="Llamas ").exists())

        found = search(ann, "llamas")["results"]

    assert [result["sender"] for result in found] == ["user"]


def test_results_come_in_pages(ann: Caller) -> None:
    thread = ann.thread()
    for _ in range(5):
        Message.objects.create(thread=thread, sender=Sender.USER, content="a llama")

    first = search(ann, "llama", limit=2)
    second = search(ann, "llama", limit=2, cursor=first["next"])
    third = search(ann, "llama", limit=2, cursor=second["next"])

    ids = [result["message_id"] for body in (first, second, third) for result in body["results"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5
    assert third["next"] is None


def test_a_page_has_twenty_without_a_limit(ann: Caller) -> None:
    thread = ann.thread()
    Message.objects.bulk_create(
        Message(thread=thread, sender=Sender.USER, content="a llama") for _ in range(101)
    )

    assert len(search(ann, "llama")["results"]) == 20
    assert len(search(ann, "llama", limit=100)["results"]) == 100


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "q"),
        ({"q": "x" * 1001}, "q"),
        ({"q": "x", "limit": "0"}, "limit"),
        ({"q": "x", "limit": "101"}, "limit"),
        ({"q": "x", "limit": "many"}, "limit"),
        ({"q": "x", "cursor": "x"}, "cursor"),
        ({"q": "", "cursor": "x"}, "cursor"),
    ],
)
def test_a_wrong_parameter_is_refused(ann: Caller, params: dict[str, str], field: str) -> None:
    body = error_of(ann.get(URL, params=params), 400, "invalid")

    assert list(body["fields"]) == [field]


def test_the_cursor_of_another_list_is_refused(ann: Caller) -> None:
    for _ in range(2):
        ann.thread(title="llama")
    of_threads = ann.get("/chat/threads/", params={"limit": 1}).json()["next"]
    of_search = search(ann, "llama", limit=1)["next"]

    error_of(ann.get(URL, params={"q": "llama", "cursor": of_threads}), 400, "invalid")
    error_of(ann.get("/chat/threads/", params={"cursor": of_search}), 400, "invalid")


def test_a_server_indexes_in_the_background_what_was_said(ann: Caller) -> None:
    ann.say(ann.thread(), "Where do llamas live?")

    wait_until(lambda: not UnindexedText.objects.exists())

    assert MessageTerms.objects.count() == 2


def test_a_server_indexes_at_its_start_what_another_left(
    ann: Caller, start_server: StartServer
) -> None:
    thread = ann.thread()
    Message.objects.create(thread=thread, sender=Sender.USER, content="a llama")
    assert UnindexedText.objects.count() == 1

    start_server()

    wait_until(lambda: not UnindexedText.objects.exists())
    assert MessageTerms.objects.count() == 1


def test_what_people_search_for_is_in_no_log(ann: Caller, start_server: StartServer) -> None:
    server = start_server()
    with Caller(server.url, ann.user) as caller:
        search(caller, "my secret wish")
        caller.get("/chat/threads/", params={"limit": 7})

    wait_until(lambda: "GET /chat/threads/ " in server.log())  # written after the answer
    assert "GET /chat/search/ " in server.log()
    assert "secret" not in server.log()

"""POST …/response/new/ and …/streaming-response/new/: a thread begins with its first message."""

from typing import Any

import httpx
import pytest

from chat.models import Message, Send, Thread
from testing.answers import error_of, refusal
from testing.people import Caller
from testing.races import at_once
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of

WHOLE, STREAM = "/chat/response/new/", "/chat/streaming-response/new/"
KEY = {"Idempotency-Key": "k"}
both = pytest.mark.parametrize("url", [WHOLE, STREAM])


def send(
    caller: Caller, url: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return caller.post(url, json={"message": "Hello", **fields}, headers=headers)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    is_json = answer.headers["Content-Type"].startswith("application/json")
    return str(answer.json()["response"]) if is_json else answer.text


def nothing_is_left() -> bool:
    return not (Thread.all_objects.exists() or Message.objects.exists() or Send.objects.exists())


@both
def test_a_thread_is_made_with_its_first_message(ann: Caller, url: str) -> None:
    answer = send(ann, url)

    assert text_of(answer) == "You said: Hello"
    thread = int(answer.headers["Thread-Id"])
    (listed,) = ann.get("/chat/threads/").json()["threads"]
    assert (listed["id"], listed["title"]) == (thread, "Hello")
    messages = ann.get(f"/chat/threads/{thread}/messages/").json()["messages"]
    assert [message["content"] for message in messages] == ["Hello", "You said: Hello"]
    assert ann.say(Thread.objects.get(), "And?").text == "You said: And?"


def test_the_id_of_a_new_thread_is_in_the_first_event_too(ann: Caller) -> None:
    answer = send(ann, STREAM, SSE)

    start = events_of(answer.text)[0].data
    assert start["thread_id"] == Thread.objects.get().pk == int(answer.headers["Thread-Id"])


@both
def test_a_new_thread_has_the_settings_that_came_with_its_message(
    ann: Caller, ollama: ScriptedOllama, url: str
) -> None:
    settings: dict[str, Any] = {
        "title": "Mine",
        "model": "tiny",
        "system_prompt": "Be brief.",
        "options": {"seed": 3},
    }

    answer = send(ann, url, **settings, parent_id=None)

    thread = ann.get(f"/chat/threads/{answer.headers['Thread-Id']}/").json()
    assert {name: thread[name] for name in settings} == settings
    chat = ollama.chats[-1]
    assert (chat.body["model"], chat.options["seed"]) == ("tiny", 3)
    assert chat.messages[0]["content"] == "Be brief."


@both
def test_a_model_that_fails_at_once_leaves_no_thread(
    ann: Caller, ollama: ScriptedOllama, url: str
) -> None:
    ollama.script = Script(status=500)

    error_of(send(ann, url, KEY), 503, "model_unavailable")

    assert nothing_is_left()
    ollama.script = Script(["Now"])
    assert text_of(send(ann, url, KEY)) == "Now"


def test_a_stream_of_events_says_that_the_model_failed_and_leaves_no_thread(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500)

    answer = send(ann, STREAM, SSE)

    assert events_of(answer.text)[-1].data["code"] == "model_unavailable"
    assert nothing_is_left()


def test_a_model_that_fails_later_leaves_the_thread(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["Hel"], then="error")

    send(ann, STREAM, SSE)

    assert [message.status for message in Message.objects.order_by("pk")] == ["complete", "failed"]


@both
@pytest.mark.parametrize(
    "fields",
    [
        {"message": " "},
        {"message": "word " * 20_000},
        {"model": "nope"},
        {"options": {"seed": -1}},
        {"parent_id": 1},
        {"nonsense": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_body_that_a_thread_or_a_send_refuses_leaves_no_thread(
    ann: Caller, ollama: ScriptedOllama, url: str, fields: dict[str, Any]
) -> None:
    error_of(send(ann, url, **fields), 400, "invalid")

    assert nothing_is_left()
    assert not ollama.chats


@both
def test_a_key_makes_one_thread(ann: Caller, ollama: ScriptedOllama, url: str) -> None:
    answers = [send(ann, url, KEY, title="Mine") for _ in range(3)]

    assert {text_of(answer) for answer in answers} == {"You said: Hello"}
    assert {answer.headers["Thread-Id"] for answer in answers} == {str(Thread.objects.get().pk)}
    assert len(ollama.chats) == 1
    for other in ({"title": "Yours"}, {"title": "Mine", "message": "Bye"}, {}):
        assert refusal(send(ann, url, KEY, **other)) == (409, "idempotency_key_reused")


def test_a_key_makes_one_thread_at_the_same_moment_too(ann: Caller, ollama: ScriptedOllama) -> None:
    def from_another_tab() -> httpx.Response:
        with Caller(str(ann.base_url), ann.user) as tab:
            return send(tab, WHOLE, KEY)

    answers = at_once(*[from_another_tab] * 6)

    assert {text_of(answer) for answer in answers} == {"You said: Hello"}
    assert {answer.headers["Thread-Id"] for answer in answers} == {str(Thread.objects.get().pk)}
    assert len(ollama.chats) == 1


def test_each_send_without_a_key_makes_a_thread(ann: Caller) -> None:
    ids = {send(ann, WHOLE).headers["Thread-Id"] for _ in range(3)}

    assert ids == {str(pk) for pk in Thread.objects.values_list("pk", flat=True)}
    assert len(ids) == 3


def test_a_page_of_another_origin_may_read_the_id_of_a_new_thread(ann: Caller) -> None:
    answer = send(ann, WHOLE, {"Origin": "https://app.example.com"})

    assert "Thread-Id" in answer.headers["Access-Control-Expose-Headers"]

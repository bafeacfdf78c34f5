"""Replies that are held to JSON, or to a JSON schema."""

from typing import Any

import pytest

from chat.models import MessageStatus
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama

COLOUR = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}


def send(caller: Caller, format: Any, **headers: str) -> dict[str, Any]:
    thread = caller.thread()
    body = {"message": "Which colour is the sky?", "format": format}
    answer = caller.post(f"/chat/response/{thread.pk}/", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    message: dict[str, Any] = answer.json()["message"]
    assert message == caller.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"][1]
    return message


@pytest.mark.parametrize("format", ["json", COLOUR])
def test_ollama_gets_the_format_which_is_kept_with_the_reply(
    ann: Caller, ollama: ScriptedOllama, format: Any
) -> None:
    ollama.script = Script(['{"colour"', ': "blue"}'])

    message = send(ann, format)

    assert ollama.chats[0].body["format"] == format
    assert (message["format"], message["format_valid"]) == (format, True)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("json", "blue"),
        ("json", '{"colour": '),
        ("json", '{"colour": NaN}'),
        (COLOUR, '{"color": "blue"}'),
        (COLOUR, "[" * 100_000),
        ({"type": "string", "pattern": "^(a+)+$"}, f'"{"a" * 50_000}!"'),
    ],
)
def test_a_reply_that_does_not_fit_is_complete_and_marked(
    ann: Caller, ollama: ScriptedOllama, format: Any, text: str
) -> None:
    ollama.script = Script([text])

    message = send(ann, format)

    assert message["content"] == text
    assert (message["status"], message["format_valid"]) == ("complete", False)


def test_without_a_format_there_is_no_verdict(ann: Caller, ollama: ScriptedOllama) -> None:
    message = send(ann, None)

    assert (message["format"], message["format_valid"]) == (None, None)
    assert not ollama.chats[0].body.get("format")


@pytest.mark.parametrize(
    "format",
    [
        "xml",
        7,
        {"type": "objekt"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"pattern": "("},
        {"description": "x" * 65_536},
    ],
)
def test_what_is_no_format_is_refused(ann: Caller, ollama: ScriptedOllama, format: Any) -> None:
    thread = ann.thread()
    body = {"message": "Hello", "format": format}

    answer = ann.post(f"/chat/response/{thread.pk}/", json=body)

    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["format"]
    assert not thread.messages.exists()


def test_a_key_with_another_format_is_another_send(ann: Caller) -> None:
    thread, url = ann.thread(), "/chat/response/{}/"
    key = {"Idempotency-Key": "one"}
    body = {"message": "Hello"}
    ann.post(url.format(thread.pk), json=body, headers=key)

    answer = ann.post(url.format(thread.pk), json={**body, "format": "json"}, headers=key)

    assert answer.json()["code"] == "idempotency_key_reused"


def test_a_format_cannot_be_kept_from_the_middle_so_its_reply_is_not_carried_on(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server()
    ollama.script = Script(['{"colour"', ': "blue"}'], hold_after=1)
    thread = ann.thread()
    with Caller(server.url, ann.user) as caller:
        body = {"message": "Hello", "format": "json"}
        path = f"/chat/streaming-response/{thread.pk}/"
        with caller.stream("POST", path, json=body, headers={"Accept": "text/event-stream"}):
            wait_for_text(thread, '{"colour"')
            server.kill()
    server.start()

    reply = wait_for_status(thread, MessageStatus.INTERRUPTED, 20)

    assert (reply.content, reply.format_valid) == ('{"colour"', None)
    answer = ann.post(f"/chat/threads/{thread.pk}/continue/")
    assert answer.status_code == 409

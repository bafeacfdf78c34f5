"""POST /chat/response/<id>/: a message, and the whole reply at once."""

import pytest

from chat.models import Message, Thread
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama


def url(thread: Thread) -> str:
    return f"/chat/response/{thread.pk}/"


def test_the_answer_is_the_whole_reply(ann: Caller) -> None:
    thread = ann.thread()

    answer = ann.post(url(thread), json={"message": "Hello"})

    assert answer.status_code == 200
    body = answer.json()
    assert body["response"] == "You said: Hello"
    (_, reply) = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert body["message"] == reply
    assert body["usage"] == reply["usage"]
    assert body["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (Script(status=500, error="out of memory"), 503, "model_unavailable"),
        (Script(then="die"), 503, "model_unavailable"),
        (Script(then="garbage"), 503, "model_unavailable"),
    ],
)
def test_a_model_that_fails_at_once_leaves_the_thread_as_it_was(
    ann: Caller, ollama: ScriptedOllama, script: Script, status: int, code: str
) -> None:
    thread = ann.thread()
    ollama.script = script

    error_of(ann.post(url(thread), json={"message": "Hello"}), status, code)

    assert not Message.objects.exists()
    assert Thread.objects.values("title", "updated_at").get(pk=thread.pk) == {
        "title": "",
        "updated_at": thread.updated_at,
    }


def test_a_model_that_fails_later_leaves_what_it_wrote(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(["Half ", "an "], then="die")

    error_of(ann.post(url(thread), json={"message": "Hello"}), 503, "model_unavailable")

    reply = Message.objects.get(sender="bot")
    assert (reply.content, reply.status) == ("Half an ", "failed")


def test_a_model_that_ollama_lacks_is_named_with_the_command_that_pulls_it(ann: Caller) -> None:
    body = error_of(
        ann.post(url(ann.thread(model="mistral")), json={"message": "Hello"}), 503, "model_missing"
    )

    assert "pullmodel mistral" in body["error"]
    assert not Message.objects.exists()


def test_nobody_sends_to_somebody_elses_thread(
    ann: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    error_of(bob.post(url(ann.thread()), json={"message": "Hello"}), 404, "not_found")

    assert not ollama.chats

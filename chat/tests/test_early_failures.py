"""A model that fails before its first token leaves the thread as it was."""

import json

import pytest

from chat.models import Thread
from testing.answers import refusal
from testing.people import Caller
from testing.replies import is_as_it_was
from testing.scripted_ollama import Script, ScriptedOllama, echo
from testing.streams import NDJSON, SSE, sending

KEY = {"Idempotency-Key": "again and again"}


EARLY = {
    "broken": Script(status=500, error="llama runner process has terminated"),
    "garbage": Script(then="garbage"),
    "an error for an answer": Script(then="error"),
    "no answer": Script(then="no_done"),
    "a connection that closes": Script(then="die"),
    "a connection that is reset": Script(then="reset"),
}


def say_and_fail(
    caller: Caller, thread: Thread, expected: tuple[int, str], *, begins: bool = True
) -> str:
    """Send a message in all four ways, each with the same key; return the error's sentence.

    `begins` says whether streams of events begin, or the failure is known before.
    """
    sentences: set[str] = set()
    for accept in (None, "application/json"):
        answer = caller.say(thread, headers={**KEY, **({"Accept": accept} if accept else {})})
        assert refusal(answer) == expected
        sentences.add(answer.json()["error"])
    answer = caller.post(f"/chat/response/{thread.pk}/", json={"message": "Hello"}, headers=KEY)
    assert refusal(answer) == expected
    for form in (SSE, NDJSON):
        answer = caller.say(thread, headers={**KEY, **form})
        if begins:
            assert answer.status_code == 200, answer.text
            assert expected[1] in answer.text.strip().splitlines()[-1]
            assert "delta" not in answer.text
        else:
            assert refusal(answer) == expected
    assert len(sentences) == 1
    return sentences.pop()


@pytest.mark.parametrize("script", EARLY.values(), ids=EARLY)
def test_a_failure_before_the_first_token_leaves_the_thread_as_it_was(
    ann: Caller, ollama: ScriptedOllama, script: Script
) -> None:
    thread = ann.thread()
    ollama.script = script

    sentence = say_and_fail(ann, thread, (503, "model_unavailable"))

    assert "<html>" not in sentence
    assert is_as_it_was(thread)
    assert not thread.messages.exists()
    ollama.script = echo
    assert ann.say(thread, headers=KEY).text == "You said: Hello"


def test_a_busy_model_says_when_to_try_again(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(
        status=503, error="server busy, please try again.  maximum pending requests exceeded"
    )
    thread = ann.thread()

    say_and_fail(ann, thread, (503, "model_busy"))

    answer = ann.say(thread)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert is_as_it_was(thread)


@pytest.mark.parametrize(
    "words",
    [
        "an error was encountered while running the model: unexpected EOF",
        "llama-server process has terminated: exit status 139",
        "model runner has unexpectedly stopped, this may be due to resource limitations",
        '{"error":{"code":500,"message":"","type":"server_error"}}',
        "<html><body>502 Bad Gateway</body></html>",
    ],
)
def test_a_model_that_dies_has_not_refused_anything(
    ann: Caller, ollama: ScriptedOllama, words: str
) -> None:
    ollama.script = Script(status=500, error=words)

    sentence = say_and_fail(ann, ann.thread(), (503, "model_unavailable"))

    assert sentence == "The model cannot be reached just now: try again in a moment."


def test_a_refusal_of_the_runners_is_told_without_its_json(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    inner = {"error": {"code": 400, "message": "the model has no chat template", "type": "x"}}
    ollama.script = Script(status=400, error=f"{json.dumps(inner)}\nllama_model_load: error")

    sentence = say_and_fail(ann, ann.thread(), (503, "model_unavailable"))

    assert sentence == "The model server refused: the model has no chat template"


@pytest.mark.parametrize(
    "words",
    [
        "the input length exceeds the context length",
        "the prompt is longer than the context length currently available to the model",
        "the request exceeds the available context size (4100 tokens)",
    ],
)
def test_a_prompt_that_the_model_finds_too_long_is_not_cut_but_refused(
    ann: Caller, ollama: ScriptedOllama, words: str
) -> None:
    thread = ann.thread()
    ollama.script = Script(status=400, error=words)

    sentence = say_and_fail(ann, thread, (400, "invalid"))

    assert sentence == "The message is too long for the model's window: shorten it."
    assert is_as_it_was(thread)
    assert {(c.body["truncate"], c.body["shift"]) for c in ollama.chats} == {(False, False)}


def test_a_failure_leaves_what_was_said_before(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ann.say(thread, "Hello")
    thread.refresh_from_db()
    ollama.script = Script(then="die")

    assert refusal(ann.say(thread, "And?")) == (503, "model_unavailable")

    assert is_as_it_was(thread)
    assert thread.title == "Hello"
    ollama.script = echo
    assert ann.say(thread, "And?").text == "You said: And?"
    assert [m["role"] for m in ollama.chats[-1].messages] == ["system", "user", "assistant", "user"]


def test_a_title_that_was_given_meanwhile_survives_a_failure(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(then="die", hold_after=0)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("event: start")
        ann.put(f"/chat/threads/{thread.pk}/update-title/", json={"title": "Mine"})
        ollama.wait_for_open(1)
        ollama.release()
        assert "event: error" in reading.to_the_end()

    thread.refresh_from_db()
    assert thread.title == "Mine"
    assert not thread.messages.exists()


def test_a_missing_model_is_told_with_the_command_that_gets_it(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(model="absent:7b")

    sentence = say_and_fail(ann, thread, (503, "model_missing"), begins=False)

    assert "manage.py pullmodel absent:7b" in sentence
    assert is_as_it_was(thread)
    assert not thread.messages.exists()


def test_a_model_removed_meanwhile_is_missing_too(ann: Caller, ollama: ScriptedOllama) -> None:
    ann.say(ann.thread(model="tiny"))
    model = ollama.models.pop("tiny:latest")
    try:
        assert refusal(ann.say(ann.thread(model="tiny"))) == (503, "model_missing")
    finally:
        ollama.models["tiny:latest"] = model

"""POST /chat/threads/<id>/continue/: a reply that was cut short goes on from its last character."""

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, SSE, events_of, sending, text_of

WORDS = [f"word{number} " for number in range(8)]
WHOLE = "".join(WORDS)
HALF = "".join(WORDS[:4])


def url(thread: Thread) -> str:
    return f"/chat/threads/{thread.pk}/continue/"


@pytest.fixture
def stopped(ann: Caller, ollama: ScriptedOllama) -> Thread:
    """A thread whose reply was stopped in the middle."""
    thread = ann.thread()
    ollama.script = Script(WORDS, hold_after=4)
    with sending(ann, thread) as reading:
        reading.until("word3")
        ann.post(f"/chat/threads/{thread.pk}/stop/")
        reading.to_the_end()
    assert reply_of(thread).content == HALF
    ollama.script = Script(WORDS)
    return thread


def test_a_stopped_reply_goes_on_in_the_same_message(ann: Caller, stopped: Thread) -> None:
    before = reply_of(stopped)

    answer = ann.post(url(stopped))

    assert (answer.status_code, answer.text) == (200, WHOLE[len(HALF) :])
    assert answer.headers["Reply-Id"] == str(before.pk)
    reply = reply_of(stopped)
    assert (reply.pk, reply.status, reply.content) == (before.pk, "complete", WHOLE)
    assert (reply.finish_reason, reply.error_code) == ("stop", "")


@pytest.mark.parametrize("form", [SSE, NDJSON])
def test_the_rest_of_a_reply_comes_in_the_form_that_is_wanted(
    ann: Caller, stopped: Thread, form: dict[str, str]
) -> None:
    answer = ann.post(url(stopped), headers=form)

    assert answer.headers["Content-Type"] == form["Accept"]
    assert "word3" not in answer.text
    assert "word4" in answer.text


def test_offsets_count_from_the_beginning_of_the_reply(ann: Caller, stopped: Thread) -> None:
    events = events_of(ann.post(url(stopped), headers=SSE).text)

    assert text_of(events) == WHOLE[len(HALF) :]
    assert events[-2].id == str(len(WHOLE))


def test_the_usage_of_a_reply_and_of_its_rest_adds_up(ann: Caller, stopped: Thread) -> None:
    ann.post(url(stopped))

    usage = reply_of(stopped).usage
    assert usage
    assert usage["completion_tokens"]
    assert usage["completion_tokens"] >= len(WORDS)
    total = ann.get("/auth/usage/").json()["total"]
    assert total["completion_tokens"] >= len(WORDS)
    assert total["replies"] == 2  # it was asked twice


def test_a_reply_that_num_predict_cut_goes_on(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(WORDS[:4], done_reason="length")
    ann.say(thread)
    assert (reply_of(thread).status, reply_of(thread).finish_reason) == ("complete", "length")
    ollama.script = Script(WORDS)

    assert ann.post(url(thread)).text == WHOLE[len(HALF) :]

    assert (reply_of(thread).content, reply_of(thread).finish_reason) == (WHOLE, "stop")


def test_a_reply_that_goes_on_may_be_as_long_as_a_new_one(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(options={"num_predict": 3})
    ollama.script = Script(WORDS)
    ann.say(thread)

    assert ann.post(url(thread)).text == "".join(WORDS[3:6])

    assert (reply_of(thread).finish_reason, reply_of(thread).completion_tokens) == ("length", 6)


def test_a_failed_reply_goes_on(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(WORDS[:4], then="die")
    ann.say(thread, headers=SSE)
    assert reply_of(thread).status == "failed"
    ollama.script = Script(WORDS)

    assert ann.post(url(thread)).text == WHOLE[len(HALF) :]

    assert (reply_of(thread).status, reply_of(thread).error_code) == ("complete", "")


def test_a_complete_reply_does_not_go_on(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread)

    error_of(ann.post(url(thread)), 409, "cannot_continue")

    assert reply_of(thread).content == "You said: Hello"


def test_a_reply_that_something_follows_does_not_go_on(
    ann: Caller, stopped: Thread, ollama: ScriptedOllama
) -> None:
    first = reply_of(stopped)
    ann.say(stopped, "And?")

    error_of(ann.post(url(stopped), json={"message_id": first.pk}), 409, "cannot_continue")


def test_a_model_that_cannot_continue_a_reply_is_an_error(
    ann: Caller, start_server: StartServer, stopped: Thread, ollama: ScriptedOllama
) -> None:
    ollama.renders = False  # as of before the end of 2025, with a template that closes messages
    with Caller(start_server().url, ann.user) as there:
        error_of(there.post(url(stopped)), 409, "cannot_continue")

    assert (reply_of(stopped).status, reply_of(stopped).content) == ("stopped", HALF)


def test_a_reply_is_as_it_was_where_the_model_fails_before_a_new_word(
    ann: Caller, stopped: Thread, ollama: ScriptedOllama
) -> None:
    ann.get("/chat/models/")
    ollama.scripts += [Script(status=500)] * 3

    answer = ann.post(url(stopped))

    assert answer.status_code == 503
    assert (reply_of(stopped).status, reply_of(stopped).content) == ("stopped", HALF)


def test_no_reply_goes_on_while_another_runs(
    ann: Caller, stopped: Thread, ollama: ScriptedOllama
) -> None:
    first = reply_of(stopped)
    ollama.script = Script(WORDS, hold_after=2)
    with sending(ann, stopped, "Again") as reading:
        reading.until("word1")
        answer = ann.post(url(stopped), json={"message_id": first.pk})
        assert answer.status_code == 409
        ollama.release()
        reading.to_the_end()


def test_a_reply_of_somebody_else_is_not_there(ann: Caller, bob: Caller, stopped: Thread) -> None:
    error_of(bob.post(url(stopped)), 404, "not_found")
    error_of(
        bob.post(url(bob.thread()), json={"message_id": reply_of(stopped).pk}), 404, "not_found"
    )

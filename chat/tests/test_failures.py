"""What a client sees of a model that fails: before its first token, later, or altogether."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from chat.models import Message, Thread
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama, Then, echo
from testing.streams import NDJSON, SSE, events_of, path_of, sending, text_of
from testing.waiting import wait_until

KEY = {"Idempotency-Key": "again and again"}
TEN = [f"token{number} " for number in range(10)]

EARLY = {
    "broken": Script(status=500, error="llama runner process has terminated"),
    "garbage": Script(then="garbage"),
    "an error for an answer": Script(then="error"),
    "no answer": Script(then="no_done"),
    "a connection that closes": Script(then="die"),
    "a connection that is reset": Script(then="reset"),
}
LATE = {
    "dies": Script(TEN, then="die"),
    "is reset": Script(TEN, then="reset"),
    "talks nonsense": Script(TEN, then="garbage"),
    "tells an error": Script(TEN, then="error"),
    "has no end": Script(TEN, then="no_done"),
}


@pytest.fixture(scope="module")
def hasty_server(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that waits for a model less than a second."""
    settings = {
        "OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS": "0.6",
        "OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS": "0.3",
    }
    with Server(tmp_path_factory.mktemp("hasty"), server_environment | settings) as server:
        yield server


@pytest.fixture
def hasty(hasty_server: Server, database: None, ollama: ScriptedOllama) -> Iterator[Caller]:
    """Ann, at the hasty server."""
    with Caller(hasty_server.url, create_user("ann")) as ann:
        yield ann


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.json()["code"]


def is_as_it_was(thread: Thread) -> bool:
    """Tell whether a thread is what it was when it was created or last read."""
    now = Thread.objects.get(pk=thread.pk)
    return (now.title, now.updated_at) == (thread.title, thread.updated_at)


def say_and_fail(caller: Caller, thread: Thread, expected: tuple[int, str]) -> str:
    """Send a message in all four ways, each with the same key; return the error's sentence."""
    sentences: set[str] = set()
    for accept in (None, "application/json"):
        answer = caller.say(thread, headers={**KEY, **({"Accept": accept} if accept else {})})
        assert refusal(answer) == expected
        sentences.add(answer.json()["error"])
    answer = caller.post(f"/chat/response/{thread.pk}/", json={"message": "Hello"}, headers=KEY)
    assert refusal(answer) == expected
    for form in (SSE, NDJSON):
        answer = caller.say(thread, headers={**KEY, **form})
        if answer.status_code == 200:
            assert expected[1] in answer.text.strip().splitlines()[-1]
            assert "delta" not in answer.text
        else:  # known to fail before the reply was begun
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
        ollama.release()
        assert "event: error" in reading.to_the_end()

    thread.refresh_from_db()
    assert thread.title == "Mine"
    assert not thread.messages.exists()


def test_a_missing_model_is_told_with_the_command_that_gets_it(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(model="absent:7b")

    sentence = say_and_fail(ann, thread, (503, "model_missing"))

    assert "manage.py pullmodel absent:7b" in sentence
    assert is_as_it_was(thread)
    assert not thread.messages.exists()


@pytest.mark.parametrize("nonsense", [-7, 10**20])
def test_a_record_that_makes_no_sense_costs_no_text(
    ann: Caller, ollama: ScriptedOllama, nonsense: int
) -> None:
    ollama.script = Script(["Ten"], prompt_tokens=nonsense, completion_tokens=nonsense)
    thread = ann.thread()

    assert ann.say(thread).text == "Ten"

    reply = reply_of(thread)
    assert (reply.status, reply.content) == ("complete", "Ten")
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)


def test_a_model_removed_meanwhile_is_missing_too(ann: Caller, ollama: ScriptedOllama) -> None:
    ann.say(ann.thread(model="tiny"))
    model = ollama.models.pop("tiny:latest")
    try:
        assert refusal(ann.say(ann.thread(model="tiny"))) == (503, "model_missing")
    finally:
        ollama.models["tiny:latest"] = model


@pytest.mark.parametrize("then", ["silence", "hang"])
def test_a_model_without_a_first_token_times_out(
    hasty: Caller, ollama: ScriptedOllama, then: Then
) -> None:
    ollama.script = Script(then=then)
    thread = hasty.thread()

    assert refusal(hasty.say(thread, headers=KEY)) == (504, "model_timeout")

    ollama.wait_for_open(0, timeout=1)
    assert is_as_it_was(thread)
    assert not thread.messages.exists()
    ollama.script = echo
    assert hasty.say(thread, headers=KEY).text == "You said: Hello"


def test_a_model_that_falls_silent_leaves_a_failed_reply(
    hasty: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(TEN, then="hang", interval=0.1)  # longer than either time-out in all
    thread = hasty.thread()

    events = events_of(hasty.say(thread, headers=SSE).text)

    ollama.wait_for_open(0, timeout=1)
    assert text_of(events) == "".join(TEN)
    assert (events[-1].type, events[-1].data["code"]) == ("error", "model_timeout")
    reply = reply_of(thread)
    assert (reply.status, reply.content) == ("failed", "".join(TEN))
    assert reply.error_code == "model_timeout"


@pytest.mark.parametrize("script", LATE.values(), ids=LATE)
def test_a_later_failure_keeps_what_was_written_and_never_looks_complete(
    ann: Caller, ollama: ScriptedOllama, script: Script
) -> None:
    ollama.script = script
    text = "".join(TEN)

    thread = ann.thread()
    events = events_of(ann.say(thread, headers=SSE).text)
    assert text_of(events) == text
    assert (events[-1].type, events[-1].data["code"]) == ("error", "model_unavailable")
    assert "end" not in {event.type for event in events}

    last = ann.say(ann.thread(), headers=NDJSON).text.splitlines()[-1]
    assert last.startswith('{"type":"error"')
    assert '"code":"model_unavailable"' in last

    with sending(ann, ann.thread(), Accept="text/plain") as reading:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            reading.to_the_end()
        assert reading.text == text

    whole = ann.thread()
    answer = ann.post(f"/chat/response/{whole.pk}/", json={"message": "Hello"})
    assert refusal(answer) == (503, "model_unavailable")

    for kept in (thread, whole):
        reply = wait_for_status(kept, "failed")
        assert (reply.content, reply.error_code) == (text, "model_unavailable")
        assert reply.parent
        assert reply.parent.content == "Hello"
    with pytest.raises(httpx.RemoteProtocolError):
        ann.get(path_of(thread))


def test_after_a_failed_reply_the_thread_goes_on(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts.append(LATE["dies"])
    thread = ann.thread()
    ann.say(thread, headers=SSE)

    assert ann.say(thread, "Again").text == "You said: Again"


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    return start_server()


def test_while_ollama_is_down_sends_fail_at_once_and_then_recover(
    own_server: Server, ollama: ScriptedOllama
) -> None:
    with Caller(own_server.url, create_user("ann")) as ann:
        thread = ann.thread()
        ann.say(ann.thread())
        ollama.stop()
        began = time.monotonic()
        for _ in range(5):
            assert refusal(ann.say(thread, headers=KEY)) == (503, "model_unavailable")
        assert time.monotonic() - began < 2
        assert is_as_it_was(thread)
        assert not thread.messages.exists()

        ollama.start()
        wait_until(lambda: ann.say(thread, headers=KEY).status_code == 200, 6)
        assert reply_of(thread).content == "You said: Hello"


def test_ollama_killed_in_mid_answer_leaves_a_failed_reply(
    own_server: Server, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(TEN, hold_after=5)
    with Caller(own_server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with sending(ann, thread) as reading:
            reading.until("token4")
            ollama.stop()
            assert events_of(reading.to_the_end())[-1].data["code"] == "model_unavailable"
        reply = wait_for_status(thread, "failed")
        assert reply.content == "".join(TEN[:5])


def test_while_ollama_hangs_sends_fail_at_once_and_then_recover(
    own_server: Server, ollama: ScriptedOllama
) -> None:
    with (
        Caller(own_server.url, create_user("ann")) as ann,
        Caller(own_server.url, ann.user) as other_tab,
    ):
        ann.say(ann.thread())  # so that the model's window is known
        ollama.hang_everything = True
        stuck, thread = ann.thread(), ann.thread()
        answers: list[httpx.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(other_tab.say(stuck, "Hi")))
        waiting.start()
        wait_until(lambda: Message.objects.filter(thread=stuck).exists())
        time.sleep(3.1)  # then it is doubted that Ollama answers at all

        durations = []
        for _ in range(4):
            began = time.monotonic()
            assert refusal(ann.say(thread)) == (503, "model_unavailable")
            durations.append(time.monotonic() - began)
        assert durations[0] < 2.5  # it asked
        assert max(durations[1:]) < 0.5
        assert not thread.messages.exists()

        ollama.hang_everything = False
        wait_until(lambda: ann.say(thread).status_code == 200, 6)
        waiting.join(10)
        assert answers[0].text == "You said: Hi"

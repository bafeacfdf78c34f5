"""A model that is silent for too long."""

from collections.abc import Iterator

import pytest

from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import Server
from testing.replies import is_as_it_was, reply_of
from testing.scripted_ollama import Script, ScriptedOllama, Then, echo
from testing.streams import SSE, events_of, text_of

KEY = {"Idempotency-Key": "again and again"}


TEN = [f"token{number} " for number in range(10)]


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

"""CHAT_TITLES=model: a title whose process ends, or whose reply another process wrote."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chat.models import Thread
from chat.replies.titles import QUESTION
from chat.tests.taking_over import HALF, WHOLE, WORDS
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.waiting import wait_until


class Model:
    """A model whose replies and titles can each be held, until somebody else asks for them."""

    def __init__(self) -> None:
        self.reply, self.title = Script(WORDS), Script(["Seven words"])

    def __call__(self, body: Mapping[str, Any]) -> Script:
        asked = body.get("messages") or [{"content": body.get("prompt", "")}]
        return self.title if QUESTION in asked[-1]["content"] else self.reply


@pytest.fixture
def model(ollama: ScriptedOllama) -> Model:
    ollama.script = model = Model()
    return model


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """The process that ends; the shared server writes no titles."""
    return start_server(CHAT_TITLES="model", CHAT_SHUTDOWN_GRACE_SECONDS="0")


@pytest.fixture
def another(start_server: StartServer, server: Server) -> Server:
    return start_server(CHAT_TITLES="model")


@pytest.fixture
def ann(server: Server) -> Iterator[Caller]:
    with Caller(server.url, create_user("ann")) as ann:
        yield ann


def end(server: Server, how: str) -> None:
    """End a process by SIGKILL or SIGTERM."""
    if how == "killed":
        server.kill()
    else:
        server.terminate(10)
        assert "Traceback" not in server.log()


def wait_for_title(thread: Thread) -> None:
    """Wait until the thread has the model's title, and nobody is to write it any more."""
    named = Thread.objects.filter(pk=thread.pk, title="Seven words", title_owner=None)
    wait_until(named.exists, 10, "it still has its first words")


def titles_asked(ollama: ScriptedOllama) -> int:
    return sum(QUESTION in chat.messages[-1]["content"] for chat in ollama.chats if chat.messages)


@pytest.mark.parametrize("how", ["killed", "terminated"])
def test_a_title_that_was_being_written_is_written_elsewhere(
    server: Server, another: Server, ann: Caller, model: Model, ollama: ScriptedOllama, how: str
) -> None:
    model.title = Script(["Lost"], hold_after=0)
    thread = ann.thread()
    ann.say(thread)
    wait_until(lambda: titles_asked(ollama) == 1)
    model.title = Script(["Seven words"])

    end(server, how)

    wait_for_title(thread)
    assert titles_asked(ollama) == 2
    assert "Traceback" not in another.log()


@pytest.mark.parametrize("how", ["killed", "terminated"])
def test_a_first_reply_that_another_process_has_ended_gets_its_title(
    server: Server, another: Server, ann: Caller, model: Model, ollama: ScriptedOllama, how: str
) -> None:
    model.reply = Script(WORDS, hold_after=4)
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("word3")
        wait_for_text(thread, HALF)
        model.reply = Script(WORDS)
        end(server, how)

    assert wait_for_status(thread, "complete", 10).content == WHOLE
    wait_for_title(thread)
    assert titles_asked(ollama) == 1
    assert "Traceback" not in another.log()


def test_a_lone_process_writes_the_title_after_its_restart(
    server: Server, ann: Caller, model: Model, ollama: ScriptedOllama
) -> None:
    model.title = Script(["Lost"], hold_after=0)
    thread = ann.thread()
    ann.say(thread)
    wait_until(lambda: titles_asked(ollama) == 1)
    model.title = Script(["Seven words"])

    server.kill()
    server.start()

    wait_for_title(thread)


def test_a_title_that_was_given_meanwhile_stays(
    server: Server, ann: Caller, model: Model, ollama: ScriptedOllama
) -> None:
    model.title = Script(["Lost"], hold_after=0)
    thread = ann.thread()
    ann.say(thread)
    wait_until(lambda: titles_asked(ollama) == 1)
    ann.put(f"/chat/threads/{thread.pk}/update-title/", json={"title": "Mine"})

    server.kill()
    server.start()

    done = Thread.objects.filter(pk=thread.pk, title_owner=None)
    wait_until(done.exists, 10)
    assert done.get().title == "Mine"
    assert titles_asked(ollama) == 1


def test_a_title_that_the_model_cannot_write_is_not_asked_for_again(
    server: Server, ann: Caller, model: Model, ollama: ScriptedOllama
) -> None:
    model.title = Script(status=500, error="out of memory")
    thread = ann.thread()

    ann.say(thread)

    line = f"Thread {thread.pk} keeps its first words as its title"
    wait_until(lambda: line in server.log(), 5, server.log)
    wait_until(Thread.objects.filter(pk=thread.pk, title_owner=None).exists)

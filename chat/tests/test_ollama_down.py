"""An Ollama that is down, dies or hangs: calls fail at once, and go on when it is back."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat.models import Message, Thread
from chat.ollama.hosts import DOUBTED_SECONDS
from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import is_as_it_was, reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, sending
from testing.waiting import wait_until

KEY = {"Idempotency-Key": "again and again"}


TEN = [f"token{number} " for number in range(10)]


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


def seconds_written(thread: Thread) -> float:
    """Return for how long a thread's reply has been written, as of its last heartbeat."""
    reply = reply_of(thread)
    assert reply.heartbeat_at
    return (reply.heartbeat_at - reply.created_at).total_seconds()


def test_while_ollama_hangs_sends_fail_at_once_and_then_recover(
    own_server: Server, ollama: ScriptedOllama
) -> None:
    with (
        Caller(own_server.url, create_user("ann")) as ann,
        Caller(own_server.url, ann.user) as other_tab,
        ThreadPoolExecutor(1) as pool,
    ):
        ann.say(ann.thread())  # so that the model's window is known
        ollama.hang_everything = True
        stuck, thread = ann.thread(), ann.thread()
        waiting = pool.submit(other_tab.say, stuck, "Hi")
        wait_until(lambda: Message.objects.filter(thread=stuck).exists())
        # A send before the server doubts Ollama would hang with the other.
        wait_until(lambda: seconds_written(stuck) > DOUBTED_SECONDS + 0.1, 10)

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
        assert waiting.result(10).text == "You said: Hi"

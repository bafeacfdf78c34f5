"""Several Ollamas: threads stay with theirs, and replies survive one that dies or hangs."""

import time
from collections.abc import Iterator
from io import StringIO

import httpx
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from chat.models import Thread
from chat.ollama.placement import place
from chat.tests.queueing import most_at_once, waiting
from testing.exposition import metrics_of
from testing.people import Caller, create_user, token_of
from testing.processes import Server, StartServer, free_port
from testing.replies import reply_of, wait_for_text
from testing.scripted_ollama import ModelInfo, Script, ScriptedOllama
from testing.streams import events_of, sending, text_of
from testing.waiting import wait_until

WORDS = [f"word{number} " for number in range(8)]
WHOLE, HALF = "".join(WORDS), "".join(WORDS[:4])


@pytest.fixture
def other(ollama: ScriptedOllama) -> Iterator[ScriptedOllama]:
    """A second Ollama."""
    with ScriptedOllama(free_port()) as other:
        yield other
        other.hang_everything = False


@pytest.fixture
def both(ollama: ScriptedOllama, other: ScriptedOllama) -> dict[str, ScriptedOllama]:
    """The two, by their addresses."""
    return {host.url: host for host in (ollama, other)}


@pytest.fixture
def server(start_server: StartServer, both: dict[str, ScriptedOllama]) -> Server:
    """A server with two Ollamas, and no limit to what they write at once."""
    return start_server(OLLAMA_HOST=", ".join(both))


def home_of(thread: Thread, both: dict[str, ScriptedOllama]) -> ScriptedOllama:
    """Return the Ollama that writes a thread's replies, if neither is busy."""
    return both[place(str(thread.pk), list(both), {}, 0) or ""]


def away_from(host: ScriptedOllama, both: dict[str, ScriptedOllama]) -> ScriptedOllama:
    return next(each for each in both.values() if each is not host)


def test_a_thread_stays_with_its_host_and_threads_are_spread(
    ann: Caller, both: dict[str, ScriptedOllama]
) -> None:
    threads = [ann.thread() for _ in range(8)]
    for _ in range(3):
        for thread in threads:
            assert ann.say(thread, f"In thread {thread.pk}").text.startswith("You said")

    for thread in threads:
        message = {"role": "user", "content": f"In thread {thread.pk}"}
        counts = {
            url: sum(message in chat.messages for chat in host.chats) for url, host in both.items()
        }
        assert sorted(counts.values()) == [0, 3]
        assert counts[home_of(thread, both).url] == 3


def test_the_models_are_those_of_all_and_each_is_asked_for_its_own(
    ann: Caller, both: dict[str, ScriptedOllama], ollama: ScriptedOllama, other: ScriptedOllama
) -> None:
    ollama.models["first:1b"] = other.models["second:1b"] = ModelInfo()

    listed = ann.get("/chat/models/").json()["models"]
    for _ in range(4):
        assert ann.say(ann.thread(model="first:1b")).status_code == 200
        assert ann.say(ann.thread(model="second:1b")).status_code == 200

    names = [model["name"] for model in listed]
    assert len(names) == len(set(names)) == 5
    assert {chat.body["model"] for chat in ollama.chats} == {"first:1b"}
    assert {chat.body["model"] for chat in other.chats} == {"second:1b"}


@pytest.mark.parametrize("trouble", ["dies", "hangs", "breaks off"])
def test_a_reply_goes_on_elsewhere_from_its_last_character(
    ann: Caller, both: dict[str, ScriptedOllama], trouble: str
) -> None:
    thread = ann.thread()
    home = home_of(thread, both)
    away_from(home, both).script = Script(WORDS)
    home.script = (
        Script(WORDS[:4], then="die") if trouble == "breaks off" else Script(WORDS, hold_after=4)
    )
    with sending(ann, thread) as reading:
        reading.until("word3")
        wait_for_text(thread, HALF) if trouble != "breaks off" else None
        if trouble == "dies":
            home.stop()
        elif trouble == "hangs":
            home.hang_everything = True
        events = events_of(reading.to_the_end())

    assert text_of(events) == WHOLE
    assert [event.type for event in events if event.type not in ("delta", "start")] == ["end"]
    reply = reply_of(thread)
    assert (reply.status, reply.content) == ("complete", WHOLE)
    assert reply.usage
    assert reply.usage["completion_tokens"] == len(WORDS)
    assert away_from(home, both).chats[-1].continues == HALF


def test_thinking_without_text_begins_anew(ann: Caller, both: dict[str, ScriptedOllama]) -> None:
    thread = ann.thread(model="thinker")
    home = home_of(thread, both)
    home.script = Script(thinking=["Hm ", "hm."], tokens=[], then="die")
    away_from(home, both).script = Script(WORDS, thinking=["Ah."])

    assert ann.say(thread).text == WHOLE
    assert reply_of(thread).thinking == "Ah."


@pytest.mark.parametrize("hanging", ["first", "second"])
def test_a_host_that_hangs_is_not_waited_for_by_look_ups(
    ann: Caller, both: dict[str, ScriptedOllama], hanging: str
) -> None:
    """Nothing is known yet of either host when the first message comes."""
    hosts = list(both.values())
    hosts[hanging == "second"].hang_everything = True

    began = time.monotonic()
    assert ann.say(ann.thread()).text == "You said: Hello"

    assert time.monotonic() - began < 8
    hosts[hanging == "second"].hang_everything = False


def test_one_that_is_away_is_left_alone_and_called_again_when_it_is_back(
    ann: Caller, both: dict[str, ScriptedOllama], other: ScriptedOllama
) -> None:
    threads = [ann.thread() for _ in range(12)]
    mine = [thread for thread in threads if home_of(thread, both) is other]
    other.stop()

    assert {ann.say(thread).text for thread in threads} == {"You said: Hello"}

    other.start()
    wait_until(lambda: ann.say(mine[0]).text == "You said: Hello" and other.chats, 15)


def test_a_model_that_all_hosts_refuse_fails_once(
    ann: Caller, both: dict[str, ScriptedOllama]
) -> None:
    for host in both.values():
        host.script = Script(status=500)

    assert ann.say(ann.thread()).status_code == 503
    assert [len(host.chats) for host in both.values()] == [1, 1]


def test_a_completion_is_asked_for_elsewhere_before_its_first_word(
    ann: Caller, both: dict[str, ScriptedOllama], ollama: ScriptedOllama, other: ScriptedOllama
) -> None:
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Authorization": f"Bearer {token_of(ann)}"}
    for broken in (ollama, other):
        broken.scripts.append(Script(status=500))
        answer = ann.post("/v1/chat/completions", json=body, headers=headers)
        broken.scripts.clear()
        assert answer.json()["choices"][0]["message"]["content"] == "You said: Hi"


def test_readiness_and_the_metrics_name_the_host_that_does_not_answer(
    server: Server, nobody: Caller, ollama: ScriptedOllama, other: ScriptedOllama
) -> None:
    def state() -> str:
        return str(nobody.get("/health/ready/").json()["ollama"])

    def up(host: ScriptedOllama) -> float:
        return metrics_of(server.url).value("llama_chatbot_ollama_up", host=host.url)

    wait_until(lambda: state() == "ok")
    assert (up(ollama), up(other)) == (1, 1)
    other.stop()
    wait_until(lambda: state() == f"{other.url}: no answer")
    assert (up(ollama), up(other)) == (1, 0)


def test_each_host_has_turns_of_its_own(
    start_server: StartServer, both: dict[str, ScriptedOllama]
) -> None:
    for host in both.values():
        host.script = Script(WORDS, hold_after=1)
    server = start_server(OLLAMA_HOST=",".join(both), OLLAMA_PARALLEL="1")
    with (
        Caller(server.url, create_user("ann")) as ann,
        sending(ann, ann.thread()) as one,
        sending(ann, ann.thread()) as two,
    ):
        one.until("word0")
        two.until("word0")
        assert [host.open for host in both.values()] == [1, 1]
        with waiting(ann, ann.thread(), 0) as three:
            for host in both.values():
                host.script = Script(WORDS)
                host.release()
            three.to_the_end()
        assert text_of(events_of(three.text)) == WHOLE
    assert [most_at_once(host.chats) for host in both.values()] == [1, 1]


@pytest.mark.parametrize("trouble", ["dies", "hangs"])
def test_a_turn_at_a_host_in_trouble_is_followed_by_one_elsewhere(
    start_server: StartServer, both: dict[str, ScriptedOllama], trouble: str
) -> None:
    server = start_server(OLLAMA_HOST=",".join(both), OLLAMA_PARALLEL="1")
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        home = home_of(thread, both)
        home.script = Script(WORDS, hold_after=4)
        away_from(home, both).script = Script(WORDS)
        with sending(ann, thread) as reading:
            reading.until("word3")
            if trouble == "dies":
                home.stop()
            else:
                home.hang_everything = True
            assert text_of(events_of(reading.to_the_end())) == WHOLE


def test_pullmodel_pulls_everywhere(
    both: dict[str, ScriptedOllama], other: ScriptedOllama, settings: Settings
) -> None:
    settings.OLLAMA_HOST = ",".join(both)
    output = StringIO()
    call_command("pullmodel", "new:1b", stdout=output)

    assert all("new:1b" in host.models for host in both.values())
    assert all(f"{url}:" in output.getvalue() for url in both)
    assert output.getvalue().endswith("The model new:1b is ready.\n")

    other.stop()
    with pytest.raises(CommandError, match=f"does not answer at {other.url}"):
        call_command("pullmodel", "newer:1b", stdout=output)
    assert sum("newer:1b" in host.models for host in both.values()) == 1
    assert httpx.get(f"{next(iter(both))}/api/version").status_code == 200

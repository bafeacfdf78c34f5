"""The queue of several processes, which are killed and replaced: each call has one turn."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from chat.models import Message, Sender, Turn
from chat.tests.queueing import ONE, most_at_once, positions, said, waiting
from testing.people import Caller, create_user
from testing.processes import Memcached, Server
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, following, sending, text_of
from testing.waiting import wait_until

WORDS = ["one ", "two ", "three "]


@pytest.fixture
def environment(
    own_database_url: str,
    server_environment: dict[str, str],
    memcached: Memcached,
    ollama: ScriptedOllama,
) -> dict[str, str]:
    """The settings of servers that have one reply written at once, both together."""
    settings = {"DATABASE_URL": own_database_url, "CACHE_LOCATION": memcached.location, **ONE}
    return server_environment | settings


@pytest.fixture
def servers(environment: dict[str, str], tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes, each with a port of its own."""
    with Server(tmp_path, environment) as one, Server(tmp_path, environment) as other:
        yield [one, other]


@pytest.fixture
def there(servers: list[Server]) -> Iterator[Caller]:
    """Ann, by way of the process that will end."""
    with Caller(servers[0].url, create_user("ann")) as there:
        yield there


@pytest.fixture
def here(servers: list[Server]) -> Iterator[Caller]:
    """Bob, by way of the process that stays."""
    with Caller(servers[1].url, create_user("bob")) as here:
        yield here


def test_a_turn_that_ends_in_one_process_is_taken_in_the_other(
    there: Caller, here: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(WORDS, hold_after=1))
    with sending(there, there.thread()) as first:
        first.until("one")
        with waiting(here, here.thread(), 0) as second:
            ollama.release()
            assert text_of(events_of(second.to_the_end())) == "You said: Hello"

    assert most_at_once(ollama.chats) == 1


def test_a_reader_in_another_process_is_told_the_place(
    there: Caller, here: Caller, servers: list[Server], ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(WORDS, hold_after=1))
    with sending(here, here.thread()) as first:
        first.until("one")
        thread = there.thread()
        with (
            waiting(there, thread, 0),
            Caller(servers[1].url, there.user) as elsewhere,
            following(elsewhere, thread) as reading,
        ):
            reading.until('"position":0')
            ollama.release()
            events = events_of(reading.to_the_end())

    assert positions(events) == [0]
    assert text_of(events) == "You said: Hello"


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_what_runs_and_what_waits_is_carried_over(
    there: Caller, here: Caller, servers: list[Server], ollama: ScriptedOllama, end: str
) -> None:
    """The turn stays with the reply that had it, and the place with the one that waited."""
    ollama.scripts.append(Script(WORDS, hold_after=1))
    ollama.script = lambda body: (
        Script(WORDS) if body["messages"][-1]["content"] == "1" else Script(["Hi"])
    )
    running, queued, last = there.thread(), there.thread(), here.thread()
    with sending(there, running, "1") as reading:
        reading.until("one")
        wait_until(lambda: reply_of(running).content == "one ")
        with waiting(there, queued, 0, "2") as second, waiting(here, last, 0, "3") as third:
            # Bob has none running, so he is before Ann's second.
            second.until('"position":1')
            if end == "kill":
                servers[0].kill()
            else:
                assert servers[0].terminate(10) in (0, -signal.SIGTERM)
            third.to_the_end()
            for stream in (reading, second):
                with pytest.raises(httpx.TransportError):
                    stream.to_the_end()
    assert wait_for_status(running, "complete", 10).content == "one two three "
    assert wait_for_status(queued, "complete", 10).content == "Hi"
    assert [said(chat) for chat in ollama.chats] == ["1", "1", "3", "2"]
    assert most_at_once(ollama.chats) == 1
    wait_until(lambda: not Turn.objects.exists())


def test_there_are_never_more_calls_than_turns_whatever_is_killed(
    environment: dict[str, str], tmp_path: Path, ollama: ScriptedOllama
) -> None:
    """Two processes, three turns, twelve users; one of the two is killed again and again."""
    ollama.script = Script([f"{number} " for number in range(12)], interval=0.05)
    environment = environment | {"OLLAMA_PARALLEL": "3"}
    users = [create_user(f"user{number}") for number in range(12)]
    stops = threading.Event()
    with (
        Server(tmp_path, environment) as one,
        Server(tmp_path, environment) as other,
        ThreadPoolExecutor(len(users)) as threads,
    ):
        callers = [Caller([one, other][n % 2].url, user) for n, user in enumerate(users)]

        def send_again_and_again(caller: Caller, thread_ids: list[int]) -> None:
            for thread_id in thread_ids:
                while not stops.is_set():
                    try:
                        caller.post(
                            f"/chat/streaming-response/{thread_id}/", json={"message": "Hello"}
                        )
                        break
                    except httpx.TransportError:
                        stops.wait(0.1)

        work = [
            threads.submit(send_again_and_again, caller, [caller.thread().pk for _ in range(4)])
            for caller in callers
        ]
        for _ in range(3):
            time.sleep(2)
            other.kill()
            other.start()
        for each in work:
            each.result(timeout=60)
        stops.set()
        replies = Message.objects.filter(sender=Sender.BOT)
        wait_until(lambda: not replies.filter(status="generating").exists(), 30)
        wait_until(lambda: not Turn.objects.exists())

    assert set(replies.values_list("status", flat=True)) == {"complete"}
    assert replies.count() >= 48
    assert most_at_once(ollama.chats) == 3

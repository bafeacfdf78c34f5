"""More than one process: a reply is followed and stopped through another than writes it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from chat.models import Message, Thread
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Memcached, Server, StartServer
from testing.replies import reply_of, wait_for_checkpoints, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of, following, path_of, sending, text_of
from testing.waiting import wait_until

WORDS = [f"word{number} \U0001f999 " for number in range(10)]
TEXT = "".join(WORDS)


@pytest.fixture(scope="module")
def other(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Another process with the same database and Memcached, as a worker is."""
    settings = {"CACHE_LOCATION": memcached.location, "CHAT_ABANDONED_REPLY_SECONDS": "0"}
    with Server(tmp_path_factory.mktemp("other"), server_environment | settings) as server:
        yield server


def test_a_reply_is_followed_through_another_process(
    ann: Caller, there: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=5)
    thread = ann.thread()

    with sending(ann, thread) as first:
        first.until("word4")
        with following(there, thread) as second, following(there, thread, offset=7) as third:
            second.until("word4")
            third.until("word4")
            ollama.release()
            events = events_of(second.to_the_end())
            assert text_of(events) == TEXT
            assert [events[0].type, events[-1].type] == ["start", "end"]
            assert events[-1].data == {
                "status": "complete",
                "finish_reason": "stop",
                "usage": reply_of(thread).usage,
            }
            assert text_of(events_of(third.to_the_end())) == TEXT[7:]


def test_a_reader_in_another_process_keeps_a_reply_going(
    ann: Caller, there: Caller, ollama: ScriptedOllama
) -> None:
    """Written where 0 stops it at once, followed from the other."""
    ollama.script = Script(WORDS, hold_after=5)
    thread = ann.thread()

    with sending(there, thread) as first:
        first.until("word4")
        second = following(ann, thread)
        staying = second.__enter__()
        staying.until("word4")
    wait_for_checkpoints(thread, 2)  # the first would stop it if nobody were there
    assert ollama.open == 1
    ollama.release()
    assert text_of(events_of(staying.to_the_end())) == TEXT
    second.__exit__(None, None, None)


def test_a_second_message_is_refused_in_the_other_process_too(
    ann: Caller, there: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=5)
    thread = ann.thread()
    key = {"Idempotency-Key": "k"}

    with sending(ann, thread, **key) as first:
        first.until("word4")
        answer = there.say(thread)
        assert (answer.status_code, answer.json()["code"]) == (409, "reply_in_progress")
        with sending(there, thread, **key) as again:
            again.until("word4")
            ollama.release()
            assert text_of(events_of(again.to_the_end())) == TEXT
    assert len(ollama.chats) == 1


def stop(there: Caller, thread: Thread) -> httpx.Response:
    return there.post(f"/chat/threads/{thread.pk}/stop/")


def delete_thread(there: Caller, thread: Thread) -> httpx.Response:
    return there.delete(f"/chat/threads/{thread.pk}/delete/")


def delete_account(there: Caller, thread: Thread) -> httpx.Response:
    return there.request("DELETE", "/auth/delete/", json={"password": PASSWORD})


def deactivate(there: Caller, thread: Thread) -> httpx.Response:
    with Caller(str(there.base_url), create_user("staff", is_staff=True)) as staff:
        return staff.post("/auth/deactivate/ann/")


@pytest.mark.parametrize(
    ("end", "written"),
    [(stop, 0), (stop, 5), (delete_thread, 5), (delete_account, 5), (deactivate, 5)],
)
def test_a_reply_is_stopped_from_another_process_within_a_second(
    ann: Caller,
    there: Caller,
    ollama: ScriptedOllama,
    end: Callable[[Caller, Thread], httpx.Response],
    written: int,
) -> None:
    ollama.script = Script(WORDS, hold_after=written)
    thread = ann.thread()

    with sending(ann, thread) as first:
        first.until("word4" if written else "event: start")
        ollama.wait_for_open(1)
        began = time.monotonic()
        assert end(there, thread).status_code == 200
        ollama.wait_for_open(0, timeout=2)
        # A second, and what the call itself takes here: `delete_account` checks a password.
        assert time.monotonic() - began < 1.5
        events = events_of(first.to_the_end())
    assert text_of(events) == "".join(WORDS[:written])
    assert events[-1].data["status"] == "stopped"
    if end in (stop, deactivate):
        assert wait_for_status(thread, "stopped").content == "".join(WORDS[:written])
    else:
        wait_until(lambda: not Message.objects.exists())  # hidden at once, and deleted soon


def test_a_stopped_reply_is_whole_for_all_who_follow_it(
    ann: Caller, there: Caller, ollama: ScriptedOllama
) -> None:
    """What was written since the last checkpoint too, and once the stop has been answered."""
    ollama.script = Script([f"{number} " for number in range(1000)], interval=0.01)
    thread = ann.thread()

    with sending(ann, thread) as first, following(there, thread) as second:
        first.until("event: delta")
        second.until("event: delta")
        stop(there, thread)
        content = reply_of(thread).content
        assert text_of(events_of(first.to_the_end())) == content
        assert text_of(events_of(second.to_the_end())) == content
    assert reply_of(thread).content == content


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="workers are told apart by /proc")
def test_two_workers_of_one_server_share_their_replies(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(workers=2)
    ollama.script = Script(WORDS, hold_after=5)
    user = create_user("ann")
    with ExitStack() as stack:
        # Which worker gets a connection is the system's choice, so there are several.
        callers = [stack.enter_context(Caller(server.url, user)) for _ in range(8)]
        workers = wait_for_workers(server)
        threads = [caller.thread() for caller in callers]
        readings = [
            stack.enter_context(sending(caller, thread))
            for caller, thread in zip(callers, threads, strict=True)
        ]
        for reading in readings:
            reading.until("word4")
        owners = {int(reply_of(thread).owner.split("/")[1]) for thread in threads}
        assert owners <= set(workers)
        # Every thread is followed and stopped over every connection, so also across workers.
        for thread in threads[:2]:
            followed = [stack.enter_context(following(caller, thread)) for caller in callers]
            for other in followed:
                other.until("word4")
        stopped, finished = threads[0], threads[1]
        assert callers[-1].post(f"/chat/threads/{stopped.pk}/stop/").json()["status"] == "stopped"
        assert reply_of(stopped).status == "stopped"
        ollama.wait_for_open(7)
        ollama.release()
        for other in followed:
            assert text_of(events_of(other.to_the_end())) == TEXT
        assert wait_for_status(finished, "complete").content == TEXT
    assert server.terminate(20) == 0
    assert "Traceback" not in server.log()


def wait_for_workers(server: Server) -> list[int]:
    """Wait until both workers run, and return their ids."""
    wait_until(lambda: len(server.worker_pids()) == 2)
    return server.worker_pids()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="workers are told apart by /proc")
def test_when_a_worker_is_killed_its_replies_are_carried_on_and_the_others_go_on(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(workers=2)
    ollama.script = Script(WORDS, hold_after=5)
    user = create_user("ann")
    with ExitStack() as stack:
        wait_for_workers(server)
        threads: dict[int, Thread] = {}
        for _ in range(40):
            caller = stack.enter_context(Caller(server.url, user))
            thread = caller.thread()
            reading = stack.enter_context(sending(caller, thread))
            reading.until("word4")
            owner = int(reply_of(thread).owner.split("/")[1])
            threads.setdefault(owner, thread)
            if len(threads) == 2:
                break
        assert len(threads) == 2, "all connections went to one worker"
        (killed, lost), (_, kept) = threads.items()
        wait_for_text(lost, "".join(WORDS[:5]))

        ollama.script = Script(WORDS)  # for who carries it on

        os.kill(killed, signal.SIGKILL)

        with Caller(server.url, user) as caller:
            events = events_of(caller.get(path_of(lost), headers=SSE).text)
            assert (text_of(events), events[-1].data["status"]) == (TEXT, "complete")
            assert reply_of(lost).content == TEXT
            ollama.release()
            assert wait_for_status(kept, "complete").content == TEXT

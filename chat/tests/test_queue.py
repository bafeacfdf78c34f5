"""OLLAMA_PARALLEL: replies wait in a fair queue, and their readers are told their place."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from chat.models import Thread, Turn
from chat.tests.queueing import ONE, most_at_once, positions, said, types_of, waiting
from testing.people import Caller, create_user, token_of
from testing.processes import Memcached, Server
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, events_of, path_of, sending, text_of
from testing.waiting import wait_until

WORDS = ["one ", "two ", "three "]


@pytest.fixture(scope="module")
def one_at_a_time(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server that has one reply written at once."""
    settings = {**server_environment, "CACHE_LOCATION": memcached.location, **ONE}
    with Server(tmp_path_factory.mktemp("queue"), settings) as server:
        yield server


@pytest.fixture
def server(one_at_a_time: Server, database: None, ollama: ScriptedOllama) -> Iterator[Server]:
    """The same in each test, with nobody in its queue."""
    yield one_at_a_time
    ollama.release()
    wait_until(lambda: not Turn.objects.exists())


@pytest.fixture
def held(ann: Caller, ollama: ScriptedOllama) -> Iterator[Thread]:
    """A thread of Ann's whose reply has its turn, until Ollama is told to go on with it."""
    thread = ann.thread()
    ollama.scripts.append(Script(WORDS, hold_after=1))
    with sending(ann, thread, "First") as reading:
        reading.until("one")
        yield thread
        ollama.release()
        assert types_of(reading)[:2] == ["start", "delta"]  # it did not wait
        reading.to_the_end()


def test_a_reply_waits_until_the_one_before_it_has_ended(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    with waiting(bob, bob.thread(), 0) as reading:
        assert len(ollama.chats) == 1
        ollama.release()
        events = events_of(reading.to_the_end())

    assert [event.type for event in events][:3] == ["start", "queued", "delta"]
    assert text_of(events) == "You said: Hello"
    assert most_at_once(ollama.chats) == 1


def test_readers_are_told_when_their_place_changes(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(WORDS, hold_after=1))
    with (
        Caller(bob.base_url, create_user("cid")) as cid,  # type: ignore[arg-type]
        waiting(bob, bob.thread(), 0),
        waiting(cid, cid.thread(), 1) as reading,
    ):
        ollama.release()
        reading.until('"position":0')
        ollama.release()
        events = events_of(reading.to_the_end())

    assert positions(events) == [1, 0]


def test_the_next_is_the_oldest_of_the_user_with_the_fewest_running(
    held: Thread, ann: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    with (
        waiting(ann, ann.thread(), 0, "Ann's second"),
        waiting(ann, ann.thread(), 1, "Ann's third") as third,
        waiting(bob, bob.thread(), 0, "Bob's first"),
        waiting(bob, bob.thread(), 2, "Bob's second") as second,
    ):
        wait_until(lambda: thread_positions(ann) == [None, 1, 3] and thread_positions(bob))
        ollama.release()
        third.to_the_end()
        second.to_the_end()

    assert [said(chat) for chat in ollama.chats] == [
        "First",
        "Bob's first",
        "Ann's second",
        "Bob's second",
        "Ann's third",
    ]
    assert most_at_once(ollama.chats) == 1


def thread_positions(caller: Caller) -> list[int | None]:
    """Return the positions that the list of threads has, the oldest thread first."""
    threads = caller.get("/chat/threads/").json()["threads"]
    return [thread["position"] for thread in sorted(threads, key=lambda thread: thread["id"])]


def test_the_message_and_the_lists_have_the_position(
    held: Thread, ann: Caller, bob: Caller
) -> None:
    thread = bob.thread()
    with waiting(bob, thread, 0):
        messages = bob.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]

        assert [message["position"] for message in messages] == [None, 0]
        assert thread_positions(bob) == [0]
        assert thread_positions(ann) == [None]


def test_ndjson_has_lines_of_the_type_queued(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    with sending(bob, bob.thread(), **NDJSON) as reading:
        reading.until('{"type":"queued","position":0}\n')
        ollama.release()
        assert '"type":"end"' in reading.to_the_end()


def test_the_ai_sdk_gets_data_that_its_message_does_not_keep(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    accept = "text/event-stream; profile=ai-sdk"
    with sending(bob, bob.thread(), Accept=accept) as reading:
        reading.until('data: {"type":"data-queued","data":{"position":0},"transient":true}\n\n')
        ollama.release()
        assert reading.to_the_end().endswith("data: [DONE]\n\n")


def test_plain_text_begins_with_the_first_token_all_the_same(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    thread = bob.thread()
    with waiting(bob, thread, 0):
        ollama.release()
        assert bob.get(path_of(thread)).text == "You said: Hello"


def test_a_reply_that_waits_is_stopped_at_once_and_never_asked_for(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    thread = bob.thread()
    with waiting(bob, thread, 0) as reading:
        assert bob.post(f"/chat/threads/{thread.pk}/stop/").json() == {"status": "stopped"}
        events = events_of(reading.to_the_end())

    assert events[-1].data["status"] == "stopped"
    assert reply_of(thread).content == ""
    wait_until(lambda: Turn.objects.count() == 1)
    ollama.release()
    wait_for_status(held, "complete")
    assert len(ollama.chats) == 1


@pytest.mark.parametrize("end", ["deactivate", "delete the thread", "delete the account"])
def test_whoever_loses_access_leaves_the_queue(
    held: Thread, bob: Caller, staff: Caller, ollama: ScriptedOllama, end: str
) -> None:
    thread = bob.thread()
    with waiting(bob, thread, 0) as reading:
        match end:
            case "deactivate":
                answer = staff.post("/auth/deactivate/bob/")
            case "delete the thread":
                answer = bob.delete(f"/chat/threads/{thread.pk}/delete/")
            case _:
                answer = bob.delete("/auth/delete/")
        assert answer.status_code == 200
        assert events_of(reading.to_the_end())[-1].data["status"] == "stopped"

    wait_until(lambda: Turn.objects.count() == 1)
    ollama.release()
    wait_for_status(held, "complete")
    assert len(ollama.chats) == 1


def test_a_second_send_takes_the_place_of_one_that_waits_and_nobody_reads(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    thread = bob.thread()
    with waiting(bob, thread, 0, "Given up"):
        pass
    wait_until(lambda: reply_of(thread).unread_since is not None)
    with ExitStack() as stack:
        wait_until(lambda: sent(stack, bob, thread), 10)
        ollama.release()
        wait_until(lambda: reply_of(thread).status == "complete")

    assert [said(chat) for chat in ollama.chats] == ["First", "Asked instead"]


def sent(stack: ExitStack, caller: Caller, thread: Thread) -> bool:
    """Send a message, unless another is still being answered."""
    answer = stack.enter_context(
        caller.stream(
            "POST",
            path_of(thread),
            json={"message": "Asked instead"},
            headers={"Accept": "text/event-stream"},
        )
    )
    return answer.status_code == 200


def test_a_failure_gives_its_turn_to_the_next(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(status=500))
    with waiting(bob, bob.thread(), 0, "Fails") as fails:
        ollama.release()
        assert events_of(fails.to_the_end())[-1].type == "error"

    assert bob.say(bob.thread()).text == "You said: Hello"


def test_completions_wait_as_well(held: Thread, bob: Caller, ollama: ScriptedOllama) -> None:
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Authorization": f"Bearer {token_of(bob)}"}
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(bob.post, "/v1/chat/completions", json=body, headers=headers)
        wait_until(lambda: Turn.objects.filter(reply_id=None, host="").count() == 1)
        assert len(ollama.chats) == 1
        ollama.release()
        message = answer.result().json()["choices"][0]["message"]
    assert message["content"] == "You said: Hi"
    wait_until(lambda: not Turn.objects.exists())


def test_a_completion_whose_client_leaves_gives_up_its_place(
    held: Thread, bob: Caller, ollama: ScriptedOllama
) -> None:
    body = {"model": "llama3.2", "input": "Hi", "stream": True, "store": False}
    headers = {"Authorization": f"Bearer {token_of(bob)}"}
    with bob.stream("POST", "/v1/responses", json=body, headers=headers) as answer:
        text = ""
        for piece in answer.iter_text():
            text += piece
            if ": 0 before this one in the queue" in text:
                break
    wait_until(lambda: Turn.objects.count() == 1)
    ollama.release()
    wait_for_status(held, "complete")
    assert len(ollama.chats) == 1

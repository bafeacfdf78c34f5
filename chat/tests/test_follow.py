"""GET /chat/streaming-response/<id>/: a reply followed from anywhere, as often as one likes."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from chat.models import Thread
from chat.ollama.errors import ModelUnavailable
from chat.replies.events import Event, Failure
from chat.replies.forms.sse import ServerSentEvents
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, Sse, events_of, following, path_of, sending, text_of
from testing.waiting import wait_until

WORDS = [f"word{number} " for number in range(20)]
TEXT = "".join(WORDS)


def test_a_killed_reader_costs_the_reply_nothing(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=5)
    thread = ann.thread()
    program = textwrap.dedent("""
        import http.client, sys
        host, path, cookie = sys.argv[1:]
        connection = http.client.HTTPConnection(host)
        headers = {"Cookie": cookie, "Content-Type": "application/json"}
        connection.request("POST", path, '{"message": "Hello"}', headers)
        print(connection.getresponse().read(5), flush=True)
        sys.stdin.read()
    """)
    address = [str(ann.base_url.netloc.decode()), path_of(thread), ann.headers["Cookie"]]
    with subprocess.Popen(
        [sys.executable, "-c", program, *address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout
        assert reader.stdout.readline().strip() == b"b'word0'"
        reader.kill()

    with following(ann, thread, offset=len("".join(WORDS[:5]))) as reading:
        ollama.release()
        assert text_of(events_of(reading.to_the_end())) == "".join(WORDS[5:])
    assert wait_for_status(thread, "complete").content == TEXT


def test_the_last_reply_is_replayed_from_any_character(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "first")
    ann.say(thread, "second")

    for offset in (0, 4, len("You said: second"), 1000):
        answer = ann.get(path_of(thread), params={"offset": offset})
        assert answer.text == "You said: second"[offset:]
        assert answer.headers["Reply-Id"] == str(reply_of(thread).pk)


def test_a_browser_goes_on_after_the_last_event_it_saw(ann: Caller) -> None:
    thread = ann.thread()
    *_, last_delta, _ = events_of(ann.say(thread, headers=SSE).text)
    for last_event_id, rest in (("4", "said: Hello"), (last_delta.id, "")):
        headers = {**SSE, "Last-Event-ID": last_event_id or ""}

        events = events_of(ann.get(path_of(thread), headers=headers).text)

        assert text_of(events) == rest
        assert events[-1].type == "end"
        assert (events[-1].id or "").endswith(f":end:{reply_of(thread).pk}")


def test_after_the_end_there_is_nothing_more_to_follow(ann: Caller) -> None:
    thread = ann.thread()
    *_, end = events_of(ann.say(thread, headers=SSE).text)

    answer = ann.get(path_of(thread), headers={**SSE, "Last-Event-ID": end.id or ""})

    assert (answer.status_code, answer.content) == (204, b"")


def test_after_a_failure_the_answer_before_it_does_not_come_again(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ann.say(thread, "first")
    ollama.script = Script(status=500, first_token_after=0.3)
    *_, failure = events_of(ann.say(thread, "second", headers=SSE).text)
    assert failure.type == "error"
    assert failure.data["reply_kept"] is False

    answer = ann.get(path_of(thread), headers={**SSE, "Last-Event-ID": failure.id or ""})

    assert (answer.status_code, answer.content) == (204, b"")


def test_a_reader_who_had_the_end_of_one_reply_gets_the_next_from_its_beginning(
    ann: Caller,
) -> None:
    thread = ann.thread()
    *_, end = events_of(ann.say(thread, "first", headers=SSE).text)
    ann.say(thread, "second")

    answer = ann.get(path_of(thread), headers={**SSE, "Last-Event-ID": end.id or ""})

    assert text_of(events_of(answer.text)) == "You said: second"


def test_a_thread_without_replies_has_nothing_to_follow(ann: Caller) -> None:
    answer = ann.get(path_of(ann.thread()), headers=SSE)

    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_failure_that_left_no_row_names_its_reply_all_the_same() -> None:
    async def events() -> AsyncIterator[Event]:
        yield Failure(ModelUnavailable(), reply_kept=False)

    (event,) = [event async for event in await ServerSentEvents(7).encode(events())]

    assert b"\nid: 0:end:7\n" in event


@pytest.mark.parametrize(
    "last_event_id", ["x", "-1", "1.5", "²", "9" * 16, "0:end:x", "0:end:", ":end:1", "0:end:0"]
)
def test_an_event_id_of_another_form_is_refused(ann: Caller, last_event_id: str) -> None:
    thread = ann.thread()
    ann.say(thread)

    headers = {"Last-Event-ID": last_event_id.encode()}
    answer = ann.get(path_of(thread), headers=headers)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


@pytest.mark.parametrize("offset", ["-1", "x", str(2**53)])
def test_an_invalid_offset_is_refused(ann: Caller, offset: str) -> None:
    answer = ann.get(path_of(ann.thread()), params={"offset": offset})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "offset" in answer.json()["fields"]


def test_nobody_follows_somebody_elses_reply(ann: Caller, bob: Caller) -> None:
    thread = ann.thread()
    ann.say(thread)

    answer = bob.get(path_of(thread))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_reader_who_comes_late_misses_nothing_and_gets_nothing_twice(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=10)
    thread = ann.thread()

    with sending(ann, thread) as first:
        first.until("word9")
        with following(ann, thread) as second, following(ann, thread, offset=7) as third:
            second.until("word9")
            third.until("word9")
            ollama.release()
            assert text_of(events_of(third.to_the_end())) == TEXT[7:]
            assert text_of(events_of(second.to_the_end())) == TEXT
        assert text_of(events_of(first.to_the_end())) == TEXT
    assert len(ollama.chats) == 1


async def read_all(session: aiohttp.ClientSession, url: str, offset: int) -> list[Sse]:
    async with session.get(url, params={"offset": offset}, headers=SSE) as answer:
        assert answer.status == 200
        return events_of(await answer.text())


async def follow_in_a_crowd(ann: Caller, thread: Thread, readers: int) -> list[list[Sse]]:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Cookie": ann.headers["Cookie"]}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        url = f"{ann.base_url}{path_of(thread)}"
        # Different places to begin at, some of them not written yet.
        return await asyncio.gather(*(read_all(session, url, i % 50) for i in range(readers)))


def test_two_hundred_readers_each_see_every_character_once(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    tokens = [f"{number} lama \U0001f999 " for number in range(300)]
    ollama.script = Script(tokens, interval=0.01)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("event: delta")
        read = asyncio.run(follow_in_a_crowd(ann, thread, 200))
        reading.to_the_end()

    for number, events in enumerate(read):
        offset = number % 50
        assert [event.type for event in events[:2]] == ["start", "delta"]
        assert text_of(events) == "".join(tokens)[offset:]
        for event in events[1:-1]:
            offset += len(event.data["text"])
            assert event.id == str(offset)
        assert events[-1].data["status"] == "complete"
    assert len(ollama.chats) == 1


def threads_and_files(server: Server) -> tuple[int, int]:
    """Count the threads of the server's process and what it has opened."""
    process = Path(f"/proc/{server.pid}")
    return len(os.listdir(process / "task")), len(os.listdir(process / "fd"))


async def drop_readers(caller: Caller, threads: list[Thread]) -> None:
    """Send a message to each thread and leave after the first event."""

    async def drop(session: aiohttp.ClientSession, thread: Thread, number: int) -> None:
        url = f"{caller.base_url}{path_of(thread)}"
        accept = {"Accept": ["text/event-stream", "application/x-ndjson", "text/plain"][number % 3]}
        answer = await session.post(url, json={"message": "Hello"}, headers=accept)
        assert answer.status == 200
        await answer.content.readany()
        answer.close()

    headers = {"Cookie": caller.headers["Cookie"]}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(drop(session, t, number) for number, t in enumerate(threads)))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="threads are counted in /proc")
def test_three_hundred_dropped_readers_leave_nothing_behind(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_ABANDONED_REPLY_SECONDS="1", CACHE_LOCATION="")
    ollama.script = Script(["word "] * 1000, interval=0.5)
    with Caller(server.url, create_user("ann")) as ann:
        rounds = [[ann.thread() for _ in range(100)] for _ in range(4)]
        # After these, every thread is there and has its connection: also those that read what is
        # stored, which some of the readers below need.
        asyncio.run(drop_readers(ann, rounds[0]))
        ollama.wait_for_open(0, 15)
        wait_until(lambda: not Thread.objects.filter(messages__status="generating").exists())
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda thread: ann.get(path_of(thread), headers=SSE), rounds[0])
            assert {answer.status_code for answer in answers} == {200}
        before = threads_and_files(server)

        for threads in rounds[1:]:
            asyncio.run(drop_readers(ann, threads))

        assert len(ollama.chats) > 300  # one may be stopped before it has asked the model
        ollama.wait_for_open(0, 15)
        wait_until(lambda: not Thread.objects.filter(messages__status="generating").exists())
        wait_until(
            lambda: all(
                now <= then for now, then in zip(threads_and_files(server), before, strict=True)
            ),
            10,
            lambda: f"threads and files grew from {before} to {threads_and_files(server)}",
        )
        assert {reply_of(thread).status for threads in rounds for thread in threads} == {"stopped"}
    assert "Traceback" not in server.log()


def test_what_is_stored_of_a_running_reply_is_hardly_older_than_a_second(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=10)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("word9")
        wait_for_text(thread, "".join(WORDS[:10]))
        messages = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
        assert [message["status"] for message in messages] == ["complete", "generating"]
        ollama.release()
        assert events_of(reading.to_the_end())[-1].type == "end"

"""The server's end in mid-answer, where replies are not carried on: kept, and no thread stuck."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from chat.models import Message, Sender, Thread
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, Reading, events_of, following, sending, text_of
from testing.waiting import wait_until

WORDS = [f"word{number} " for number in range(8)]
HALF = "".join(WORDS[:4])


@pytest.fixture
def script(ollama: ScriptedOllama) -> Script:
    ollama.script = Script(WORDS, hold_after=4)
    return ollama.script


@contextmanager
def in_mid_answer(caller: Caller, thread: Thread, **headers: str) -> Iterator[Reading]:
    """Send a message and read half of the reply."""
    with sending(caller, thread, **headers) as reading:
        reading.until("word3")
        yield reading


def statuses(caller: Caller, thread: Thread) -> list[str]:
    messages = caller.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    return [message["status"] for message in messages]


@pytest.mark.usefixtures("alone")
class TestSigkill:
    def test_the_answer_is_kept_and_the_thread_goes_on(
        self, start_server: StartServer, ollama: ScriptedOllama, script: Script
    ) -> None:
        server = start_server(CHAT_CARRY_ON="false")
        with Caller(server.url, create_user("ann")) as ann:
            thread = ann.thread()
            with in_mid_answer(ann, thread, Accept="text/plain") as reading:
                wait_for_text(thread, HALF)
                server.kill()
                died_at = time.monotonic()
                with pytest.raises(httpx.TransportError):
                    reading.to_the_end()
            ollama.wait_for_open(0, timeout=1)
            assert reply_of(thread).status == "generating"  # nobody could say otherwise

            server.start()
            ollama.script = Script(["On we go."])
            wait_until(lambda: ann.say(thread, "Go on").status_code == 200, 6)
            assert time.monotonic() - died_at < 12

        reply, again = Message.objects.filter(thread=thread, sender=Sender.BOT).order_by("pk")
        assert (reply.status, reply.content) == ("interrupted", HALF)
        assert reply.parent
        assert reply.parent.content == "Hello"
        assert again.content == "On we go."

    def test_a_reader_who_comes_back_sees_the_reply_interrupted(
        self, start_server: StartServer, script: Script
    ) -> None:
        server = start_server(CHAT_CARRY_ON="false")
        with Caller(server.url, create_user("ann")) as ann:
            thread = ann.thread()
            with in_mid_answer(ann, thread):
                wait_for_text(thread, HALF)
                server.kill()
            server.start()

            with following(ann, thread, offset=6) as reading:
                events = events_of(reading.to_the_end())
            assert text_of(events) == HALF[6:]
            assert (events[-1].type, events[-1].data["code"]) == ("error", "reply_interrupted")
            assert statuses(ann, thread) == ["complete", "interrupted"]
        assert "Traceback" not in server.log()


@contextmanager
def terminating(server: Server) -> Iterator[None]:
    """Send SIGTERM; the server must have ended a second after what is done meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(server.terminate, 20)
        yield
        ending.result(timeout=1)


class TestSigterm:
    def test_replies_are_saved_as_interrupted_after_their_time_of_grace(
        self, start_server: StartServer, ollama: ScriptedOllama, script: Script
    ) -> None:
        server = start_server(
            CHAT_SHUTDOWN_GRACE_SECONDS="1", CHAT_ABANDONED_REPLY_SECONDS="", CHAT_CARRY_ON="false"
        )
        with Caller(server.url, create_user("ann")) as ann:
            in_events, in_lines, in_text, unread = (ann.thread() for _ in range(4))
            with in_mid_answer(ann, unread):
                pass
            with (
                in_mid_answer(ann, in_events) as events,
                in_mid_answer(ann, in_lines, **NDJSON) as lines,
                in_mid_answer(ann, in_text, Accept="text/plain") as text,
            ):
                began = time.monotonic()
                with terminating(server):
                    last = events_of(events.to_the_end())[-1]
                    assert 0.8 < time.monotonic() - began < 3
                    assert (last.type, last.data["code"]) == ("error", "reply_interrupted")
                    assert '"code":"reply_interrupted"' in lines.to_the_end().splitlines()[-1]
                    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                        text.to_the_end()
        ollama.wait_for_open(0, timeout=1)
        for thread in (in_events, in_lines, in_text, unread):
            reply = reply_of(thread)
            assert (reply.status, reply.content) == ("interrupted", HALF)
        assert "Traceback" not in server.log()

    def test_a_reply_that_ends_in_time_is_complete(
        self, start_server: StartServer, ollama: ScriptedOllama, script: Script
    ) -> None:
        server = start_server(CHAT_SHUTDOWN_GRACE_SECONDS="10")
        with Caller(server.url, create_user("ann")) as ann:
            read, unread = ann.thread(), ann.thread()
            with in_mid_answer(ann, unread):
                pass
            with in_mid_answer(ann, read) as reading, terminating(server):
                wait_until(lambda: "Shutting down" in server.log())
                ollama.release()
                assert text_of(events_of(reading.to_the_end())) == "".join(WORDS)
        for thread in (read, unread):
            assert (reply_of(thread).status, reply_of(thread).content) == (
                "complete",
                "".join(WORDS),
            )

    def test_without_any_reader_the_time_of_grace_is_the_same(
        self, start_server: StartServer, ollama: ScriptedOllama, script: Script
    ) -> None:
        server = start_server(CHAT_SHUTDOWN_GRACE_SECONDS="0", CHAT_CARRY_ON="false")
        with Caller(server.url, create_user("ann")) as ann:
            thread = ann.thread()
            with in_mid_answer(ann, thread):
                pass
        server.terminate(5)
        reply = reply_of(thread)
        assert (reply.status, reply.content) == ("interrupted", HALF)

    def test_a_follower_of_another_processs_reply_is_sent_elsewhere(
        self, start_server: StartServer, ollama: ScriptedOllama, script: Script
    ) -> None:
        """The reply goes on there, so the stream must not say that it has ended."""
        writer = start_server()
        reader = start_server(CHAT_SHUTDOWN_GRACE_SECONDS="0")
        with (
            Caller(writer.url, create_user("ann")) as at_writer,
            Caller(reader.url, at_writer.user) as at_reader,
        ):
            thread = at_writer.thread()
            with in_mid_answer(at_writer, thread):
                with following(at_reader, thread) as reading:
                    reading.until("word3")
                    began = time.monotonic()
                    with terminating(reader), pytest.raises(httpx.RemoteProtocolError):
                        reading.to_the_end()
                    assert time.monotonic() - began < 3
                    assert {e.type for e in events_of(reading.text)} == {"start", "delta"}
                ollama.release()
                assert wait_for_status(thread, "complete").content == "".join(WORDS)
        assert "Traceback" not in reader.log()

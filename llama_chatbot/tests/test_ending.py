"""A process that is told to end waits for no client: it is gone within two seconds."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from django.db.models.functions import Length

from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import path_of
from testing.waiting import wait_until


@pytest.fixture
def leaving(start_server: StartServer) -> Server:
    """A server that gives nothing any time, once it is told to end."""
    return start_server(CHAT_SHUTDOWN_GRACE_SECONDS="0")


@pytest.fixture
def eve(leaving: Server) -> Iterator[Caller]:
    """Somebody who does not do what the server waits for."""
    with Caller(leaving.url, create_user("eve")) as eve:
        yield eve


def begin(caller: Caller, path: str, sent: bytes, length: int, content_type: str) -> socket.socket:
    """Send a request with the beginning of a body of this length; return its connection."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((caller.base_url.host, caller.base_url.port))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {caller.headers['Cookie']}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + sent)
    return connection


def end(server: Server) -> None:
    """Tell a server to end, which it does at once and in order."""
    began = time.monotonic()
    server.terminate(10)
    assert time.monotonic() - began < 2
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/chat/threads/new/", "application/json"), ("/chat/import/", "application/x-ndjson")],
)
def test_whoever_has_sent_half_a_body_may_send_it_again(
    leaving: Server, eve: Caller, path: str, content_type: str
) -> None:
    with closing(begin(eve, path, b"{", 500, content_type)) as connection:
        httpx.get(f"{leaving.url}/health/live/")  # accepted after it, so that is as well

        end(leaving)

        answer = connection.makefile("rb").read().lower()
    assert answer.startswith(b"http/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    assert b"about to restart" in answer


def test_a_reader_that_takes_nothing_is_not_waited_for(
    leaving: Server, eve: Caller, ollama: ScriptedOllama
) -> None:
    thread = eve.thread()
    # More than the buffers of both sides take.
    ollama.script = Script(36 * ["x" * 100_000], hold_after=35)
    body = b'{"message": "Hello"}'
    with closing(begin(eve, path_of(thread), body, len(body), "application/json")):
        is_held = thread.messages.annotate(length=Length("content")).filter(length=3_500_000)
        wait_until(is_held.exists, 15)

        end(leaving)


def test_whoever_waits_for_a_whole_reply_is_told_when_to_ask_again(
    leaving: Server, eve: Caller, ollama: ScriptedOllama
) -> None:
    thread = eve.thread()
    ollama.script = Script(["one ", "two"], hold_after=1)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(eve.post, f"/chat/response/{thread.pk}/", json={"message": "Hi"})
        ollama.wait_for_open(1)
        ollama.script = Script(["one ", "two"])

        end(leaving)

        answer = asked.result(10)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    leaving.start()
    assert wait_for_status(thread, "complete").content == "one two"

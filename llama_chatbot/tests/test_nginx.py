"""The nginx site of deploy/ in front of two processes: streams, a restart, and its own errors."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import Nginx, Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import path_of
from testing.waiting import wait_until

PROXY = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "SECURE_SSL_REDIRECT": "true"}


class Site(NamedTuple):
    """nginx, and the servers behind it."""

    nginx: Nginx
    servers: tuple[Server, Server]


@pytest.fixture
def site(start_server: StartServer, tmp_path: Path) -> Iterator[Site]:
    """The site as it is shipped, in front of two servers."""
    if not Nginx.available():
        pytest.skip("nginx or openssl is not installed")
    servers = (start_server(**PROXY), start_server(**PROXY))
    directory = tmp_path / "nginx"
    directory.mkdir()
    with Nginx(directory, servers) as nginx:
        yield Site(nginx, servers)


@pytest.fixture
def visitor(site: Site) -> Iterator[Caller]:
    """Somebody who is logged in, and trusts nginx's certificate."""
    with Caller(site.nginx.url, create_user("ann"), tls=site.nginx.tls) as visitor:
        yield visitor


def test_plain_http_is_redirected(site: Site) -> None:
    answer = httpx.get(f"http://127.0.0.1:{site.nginx.http_port}/chat/threads/?limit=1")

    assert answer.status_code == 301
    assert answer.headers["Location"] == "https://127.0.0.1/chat/threads/?limit=1"


def test_the_server_sees_https_and_the_client_s_address(visitor: Caller) -> None:
    sessions = visitor.get("/auth/sessions/")

    assert sessions.status_code == 200  # and not redirected to HTTPS once more
    assert "Strict-Transport-Security" in sessions.headers


def test_the_log_has_no_query_strings(site: Site, visitor: Caller) -> None:
    visitor.get("/chat/search/", params={"q": "a secret"})

    wait_until(lambda: '"GET /chat/search/ HTTP' in site.nginx.log())
    assert "secret" not in site.nginx.log()


def test_a_stream_is_passed_on_piece_by_piece(visitor: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    thread = visitor.thread()

    with visitor.stream("POST", path_of(thread), json={"message": "Count"}) as answer:
        pieces = answer.iter_text()
        first = next(pieces)
        ollama.release()
        rest = "".join(pieces)

    assert (first, rest) == ("one ", "two")


def test_no_call_fails_while_one_process_restarts(site: Site, visitor: Caller) -> None:
    failed: list[str] = []
    number, done = 0, threading.Event()

    def call() -> None:
        nonlocal number
        while not done.is_set():
            answer = (
                visitor.post("/chat/threads/new/") if number % 2 else visitor.get("/chat/threads/")
            )
            number += 1
            if answer.status_code >= 400:
                failed.append(f"{answer.status_code} {answer.text}")

    def wait_for_calls() -> None:
        enough = number + 5
        wait_until(lambda: number > enough)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for server in site.servers:
            wait_for_calls()
            server.terminate()
            wait_for_calls()
            server.start()
    finally:
        done.set()
        caller.join()

    assert not failed


def test_errors_of_nginx_have_the_shape_of_all_others(site: Site, visitor: Caller) -> None:
    too_large = visitor.post("/chat/threads/new/", content=b" " * 3_000_000)
    for server in site.servers:
        server.kill()
    away = visitor.get("/chat/threads/")

    assert refusal(too_large) == (413, "too_large")
    assert refusal(away) == (503, "unavailable")
    assert away.headers["Retry-After"] == "5"

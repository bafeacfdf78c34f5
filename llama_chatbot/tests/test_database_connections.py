"""PostgreSQL's connections: who holds them, and what happens when it is restarted or cut off."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psycopg
import pytest

from testing.environment import ENVIRONMENT
from testing.people import PASSWORD
from testing.processes import ROOT, Memcached, PostgreSQL, Server
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

FOLLOWERS = 12
CALLERS = 32


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    if PostgreSQL.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgreSQL() as postgresql:
        yield postgresql


@pytest.fixture(scope="module")
def start(
    postgresql: PostgreSQL,
    memcached: Memcached,
    running_ollama: ScriptedOllama,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Server]]:
    """Start a server on it; all of them end with the module."""
    environment = {
        **ENVIRONMENT,
        "DEBUG": "true",  # so that a client sends the cookie over plain HTTP
        "DATABASE_URL": postgresql.url,
        "CACHE_LOCATION": memcached.location,
        "OLLAMA_HOST": running_ollama.url,
    }
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, check=True, cwd=ROOT, env=environment)
    with ExitStack() as servers:
        yield lambda: servers.enter_context(Server(tmp_path_factory.mktemp("server"), environment))


@pytest.fixture(scope="module")
def server(start: Callable[[], Server]) -> Server:
    return start()


@pytest.fixture(scope="module")
def ann(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as ann:
        account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        assert ann.post("/auth/register/", json=account).status_code == 201
        assert ann.post("/auth/login/", json=account | {"email": None}).status_code == 400
        login = {"username": "ann", "password": PASSWORD}
        assert ann.post("/auth/login/", json=login).status_code == 200
        yield ann


def connections(postgresql: PostgreSQL) -> int:
    """Return how many connections the servers have."""
    with psycopg.connect(postgresql.url) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def call_at_once(server: Server, ann: httpx.Client, number: int) -> tuple[list[int], float]:
    """Make many calls, `CALLERS` at once; return their statuses and how long the slowest took."""

    def call(_: int) -> tuple[int, float]:
        url = f"{server.url}/chat/threads/"
        answer = httpx.get(url, cookies=ann.cookies, timeout=60)
        return answer.status_code, answer.elapsed.total_seconds()

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(call, range(number)))
    return [status for status, _ in answers], max(seconds for _, seconds in answers)


@pytest.mark.parametrize("where", ["the process that writes", "another process"])
def test_followers_that_only_stream_hold_no_connection(
    start: Callable[[], Server],
    server: Server,
    ann: httpx.Client,
    postgresql: PostgreSQL,
    ollama: ScriptedOllama,
    where: str,
) -> None:
    follows_from = server if where == "the process that writes" else start()
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    threads = [ann.post("/chat/threads/new/").json()["thread_id"] for _ in range(FOLLOWERS)]

    with ExitStack() as streams:

        def open_stream(method: str, at: Server, thread: int, **arguments: object) -> None:
            client = streams.enter_context(httpx.Client(cookies=ann.cookies, timeout=60))
            url = f"{at.url}/chat/streaming-response/{thread}/"
            stream = streams.enter_context(client.stream(method, url, **arguments))  # type: ignore[arg-type]
            assert stream.status_code == 200
            assert next(stream.iter_text()) == "Hel"

        with ThreadPoolExecutor(FOLLOWERS) as pool:
            for thread in threads:
                pool.submit(open_stream, "POST", server, thread, json={"message": "Hi"})
        with ThreadPoolExecutor(FOLLOWERS) as pool:
            follows = [pool.submit(open_stream, "GET", follows_from, thread) for thread in threads]
        for follow in follows:
            follow.result()

        # The heartbeats, and the followers of another process together.
        wait_until(
            lambda: connections(postgresql) <= 3,
            40,
            lambda: f"there are {connections(postgresql)}",
        )
        ollama.release()


def test_the_first_calls_after_a_restart_of_an_idle_postgresql_are_answered(
    server: Server, ann: httpx.Client, postgresql: PostgreSQL
) -> None:
    call_at_once(server, ann, 2 * CALLERS)
    assert connections(postgresql) > 1

    postgresql.kill()
    postgresql.start()
    statuses, _ = call_at_once(server, ann, CALLERS)

    assert set(statuses) == {200}


def test_calls_do_not_queue_up_while_postgresql_is_away(
    server: Server, ann: httpx.Client, postgresql: PostgreSQL
) -> None:
    """Each waits 5 s for it at most, also where there are more calls than threads."""
    postgresql.kill()
    try:
        statuses, slowest = call_at_once(server, ann, 4 * CALLERS)
        began = time.monotonic()
        assert ann.get("/chat/threads/").status_code == 503
        assert time.monotonic() - began < 9
    finally:
        postgresql.start()

    assert set(statuses) == {503}
    assert slowest < 9
    wait_until(lambda: ann.get("/chat/threads/").status_code == 200, 10)


def test_a_servers_connections_have_time_outs(postgresql: PostgreSQL) -> None:
    """The operating system's, for a PostgreSQL that is cut off, and its own for statements."""
    code = """
import socket
import llama_chatbot.asgi
from django.db import connection
with connection.cursor() as cursor:
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute(f"SHOW {name}")
        print(name, cursor.fetchone()[0])
with socket.socket(fileno=connection.connection.fileno()) as tcp:
    for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        print(name, tcp.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)))
"""
    environment = {**ENVIRONMENT, "DATABASE_URL": postgresql.url, "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.splitlines() == [
        "statement_timeout 30s",
        "idle_in_transaction_session_timeout 30s",
        "TCP_USER_TIMEOUT 5000",
        "TCP_KEEPIDLE 5",
        "TCP_KEEPINTVL 2",
        "TCP_KEEPCNT 3",
    ]

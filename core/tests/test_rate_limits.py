"""The rate limits, each with rate 1 and two calls, and what they do without their cache."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest

from llama_chatbot.settings import RATE_LIMITS
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Memcached, Server, StartServer
from testing.waiting import wait_until

LOGIN = {"username": "ann", "password": PASSWORD}
REGISTRATION = {"username": "dora", "email": "dora@example.com", "password": PASSWORD}


class Limit(NamedTuple):
    """A limit's call, how many of it a day the tests' server allows, and whose it counts."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    calls: int = 1
    of_address: bool = False
    status: int = 200


LIMITS = {
    "chat": Limit("POST", "/chat/streaming-response/{}/", {"message": "Hello"}),
    "read": Limit("GET", "/chat/threads/"),
    "write": Limit("POST", "/chat/threads/new/", calls=3, status=201),
    "login": Limit("POST", "/auth/login/", LOGIN, of_address=True),
    "register": Limit("POST", "/auth/register/", REGISTRATION, of_address=True, status=201),
    "password_reset": Limit("POST", "/auth/password/reset/", {"email": "x@y.org"}, of_address=True),
    "export": Limit("GET", "/auth/export/"),
    "import": Limit("POST", "/chat/import/", {"nothing": "to import"}),
}


def call(caller: Caller, limit: Limit) -> httpx.Response:
    path = limit.path.format(caller.thread().pk) if "{}" in limit.path else limit.path
    return caller.request(limit.method, path, json=limit.body)


class CachedServer(NamedTuple):
    """A server with a Memcached of its own."""

    url: str
    memcached: Memcached


@pytest.fixture(scope="module")
def limited(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CachedServer]:
    """A server that allows hardly any calls."""
    rates = {f"RATE_LIMIT_{name.upper()}": f"{limit.calls}/d" for name, limit in LIMITS.items()}
    with Memcached() as memcached:
        settings = {"CACHE_LOCATION": memcached.location, "RATE_LIMIT_LOGIN_ACCOUNT": "1/d"}
        environment = {**server_environment, **rates, **settings}
        with Server(tmp_path_factory.mktemp("limited"), environment) as server:
            yield CachedServer(server.url, memcached)


def test_every_limit_is_tested() -> None:
    assert RATE_LIMITS.keys() - LIMITS.keys() == {"login_account"}  # which has a test of its own


@pytest.mark.parametrize("name", LIMITS)
def test_the_call_after_the_last_is_too_many(
    limited: CachedServer, ann: Caller, bob: Caller, name: str
) -> None:
    limit = LIMITS[name]

    with Caller(limited.url, ann.user) as ann, Caller(limited.url, bob.user) as bob:
        within = [call(ann, limit) for _ in range(limit.calls)]
        over = call(ann, limit)
        others = call(bob, limit)

    for left, answer in zip(reversed(range(limit.calls)), within, strict=True):
        assert answer.status_code == limit.status, answer.text
        assert answer.headers["RateLimit-Limit"] == str(limit.calls)
        assert answer.headers["RateLimit-Remaining"] == str(left)
        assert 0 < int(answer.headers["RateLimit-Reset"]) <= 86_400
    error_of(over, 429, "rate_limited")
    assert over.headers["RateLimit-Remaining"] == "0"
    assert over.headers["Retry-After"] == over.headers["RateLimit-Reset"]
    assert 0 < int(over.headers["Retry-After"]) <= 86_400
    assert (others.status_code == 429) == limit.of_address


def test_an_account_is_guarded_against_many_addresses(
    limited: CachedServer, database: None
) -> None:
    create_user("carl")
    wrong = {"username": "carl", "password": "wrong"}

    with Caller(limited.url) as nobody:
        first, second = (
            nobody.post("/auth/login/", json=wrong, headers={"X-Forwarded-For": f"203.0.113.{n}"})
            for n in range(2)
        )

    error_of(first, 400, "invalid")
    error_of(second, 429, "rate_limited")


def test_a_users_calls_count_together_from_everywhere(limited: CachedServer, ann: Caller) -> None:
    with Caller(limited.url, ann.user) as here, Caller(limited.url, ann.user) as there:
        there.headers["X-Forwarded-For"] = "203.0.113.7"
        assert here.get("/chat/threads/").status_code == 200

        error_of(there.get("/chat/threads/"), 429, "rate_limited")


def test_a_repeated_send_is_not_counted(limited: CachedServer, ann: Caller) -> None:
    with Caller(limited.url, ann.user) as ann:
        thread = ann.thread()
        key = {"Idempotency-Key": "once"}
        answers = [ann.say(thread, headers=key) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        error_of(ann.say(thread), 429, "rate_limited")


def test_rate_limits_can_be_switched_off(start_server: StartServer, ann: Caller) -> None:
    server = start_server(RATE_LIMIT_READ="1/d", RATELIMIT_ENABLE="false")
    with Caller(server.url, ann.user) as ann:
        answers = [ann.get("/chat/threads/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert "RateLimit-Limit" not in answers[0].headers


# --- Without Memcached --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cached(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CachedServer]:
    """A server whose Memcached the tests may kill and stop, if they start it again."""
    with Memcached() as memcached:
        environment = {**server_environment, "CACHE_LOCATION": memcached.location}
        with Server(tmp_path_factory.mktemp("cached"), environment) as server:
            yield CachedServer(server.url, memcached)


def counts(caller: Caller) -> bool:
    """Return whether a call is counted."""
    answer = caller.get("/chat/threads/")
    assert answer.status_code == 200
    return "RateLimit-Limit" in answer.headers


@pytest.mark.parametrize("hung", [False, True])
def test_without_memcached_reads_and_sends_pass_and_guessing_does_not(
    cached: CachedServer, ann: Caller, hung: bool
) -> None:
    memcached = cached.memcached
    with Caller(cached.url, ann.user) as ann, Caller(cached.url) as nobody:
        thread = ann.thread()
        wait_until(lambda: counts(ann), 10)
        (memcached.pause if hung else memcached.kill)()
        try:
            began = time.monotonic()
            assert not counts(ann)
            assert ann.get("/chat/models/").status_code == 200
            assert ann.say(thread).text == "You said: Hello"
            assert ann.post("/chat/threads/new/").status_code == 201
            error_of(nobody.post("/auth/login/", json=LOGIN), 503, "unavailable")
            error_of(nobody.post("/auth/register/", json=REGISTRATION), 503, "unavailable")
            assert time.monotonic() - began < 6  # the stock backend waits 4 s for each call
        finally:
            (memcached.resume if hung else memcached.start)()

        wait_until(lambda: counts(ann), 10, "Memcached is not used again")


def connections_of(memcached: Memcached) -> int:
    """Return how many connections a Memcached has had, this one not counted."""
    with socket.create_connection(("127.0.0.1", memcached.port), timeout=5) as connection:
        connection.sendall(b"stats\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            answer += connection.recv(65536)
    stats = dict(line.split()[1:3] for line in answer.decode().splitlines()[:-1])
    return int(stats["total_connections"]) - 1


def test_connections_to_memcached_stay_at_the_pools_size(cached: CachedServer, ann: Caller) -> None:
    with Caller(cached.url, ann.user) as ann, ThreadPoolExecutor(10) as threads:
        wait_until(lambda: counts(ann), 10)
        before = connections_of(cached.memcached)

        # Again where the machine stalled: calls then pass uncounted for a second.
        wait_until(lambda: all(threads.map(lambda _: counts(ann), range(500))), 60)

    assert connections_of(cached.memcached) - before - 1 <= 20

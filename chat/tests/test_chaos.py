"""Each part is killed and hung in turn, under a load of streams: nothing is lost or doubled.

By hand at its full size, with the figures printed:
`CHAOS_TEST=whole pytest -s chat/tests/test_chaos.py`.
"""

import asyncio
import os
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from django.core.management import call_command
from django.db import connection

from chat.models import Message, MessageStatus
from testing.fixtures.databases import default_database
from testing.people import PASSWORD, Caller, create_user
from testing.persistent import Reader, assert_whole, long_answer, read_all, tokens_for
from testing.processes import Memcached, PostgreSQL, Server
from testing.scripted_ollama import ScriptedOllama
from testing.waiting import wait_until

CALL_SECONDS = 0.15  # between two calls of a visitor
RECOVERY_SECONDS = 15.0  # in which all is well again


class Size(NamedTuple):
    """How many replies there are, how long a part is away, and how long all is well between."""

    replies: int
    outage: float
    hang: float  # of a server: whole, others take its replies over
    pause: float


IS_WHOLE = os.environ.get("CHAOS_TEST") == "whole"
SIZE = Size(120, 4.0, 11.0, 3.0) if IS_WHOLE else Size(24, 1.0, 1.0, 0.8)


class Fault(NamedTuple):
    """Something that goes wrong for some seconds."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    seconds: float


class LockedDatabase:
    """Another program that keeps a SQLite database to itself."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, timeout=20, isolation_level=None, check_same_thread=False
        )

    def lock(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        self._connection.execute("ROLLBACK")


@pytest.fixture
def memcacheds() -> Iterator[list[Memcached]]:
    """Two Memcached of the test's own."""
    if not Memcached.available():
        pytest.skip("no memcached program is installed")
    with Memcached() as one, Memcached() as other:
        yield [one, other]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_fault(
    prepared_database: None, alone: None, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[list[Fault]]:
    """What befalls the database, one of the test's own that is this thread's default."""
    if request.param == "postgresql" and PostgreSQL.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with ExitStack() as stack:
        if request.param == "postgresql":
            postgresql = stack.enter_context(PostgreSQL())
            url = postgresql.url
            faults = [
                Fault("PostgreSQL dies", postgresql.kill, postgresql.start, SIZE.outage),
                Fault("PostgreSQL hangs", postgresql.pause, postgresql.resume, SIZE.outage),
            ]
        else:
            url = f"sqlite:///{tmp_path}/db.sqlite3"
            database = LockedDatabase(tmp_path / "db.sqlite3")
            faults = [Fault("SQLite is locked", database.lock, database.unlock, SIZE.outage)]
        stack.enter_context(default_database(url))
        call_command("migrate", verbosity=0)
        yield faults


@pytest.fixture
def servers(
    database_fault: list[Fault],
    server_environment: dict[str, str],
    memcacheds: list[Memcached],
    ollama: ScriptedOllama,
    tmp_path: Path,
) -> Iterator[list[Server]]:
    """Two processes, each with a port of its own."""
    ollama.script = long_answer
    settings = connection.settings_dict
    url = f"sqlite:///{settings['NAME']}"
    if connection.vendor == "postgresql":
        url = f"postgres://postgres@127.0.0.1:{settings['PORT']}/postgres"
    locations = ",".join(memcached.location for memcached in memcacheds)
    environment = server_environment | {"DATABASE_URL": url, "CACHE_LOCATION": locations}
    with Server(tmp_path, environment) as one, Server(tmp_path, environment) as other:
        yield [one, other]


@pytest.fixture
def faults(
    servers: list[Server],
    memcacheds: list[Memcached],
    ollama: ScriptedOllama,
    database_fault: list[Fault],
) -> list[Fault]:
    """All that goes wrong, one after the other."""

    def hang(*, hangs: bool) -> None:
        ollama.hang_everything = hangs

    one, other = servers
    cache = memcacheds[0]
    return [
        Fault("a server dies", one.kill, one.start, SIZE.outage),
        Fault("the other server hangs", other.pause, other.resume, SIZE.hang),
        Fault("Ollama dies", ollama.stop, ollama.start, SIZE.outage),
        Fault("a Memcached dies", cache.kill, cache.start, SIZE.outage),
        *database_fault,
        Fault("the other server dies", other.kill, other.start, SIZE.outage),
        Fault("a server hangs", one.pause, one.resume, SIZE.outage),
        Fault("Ollama hangs", lambda: hang(hangs=True), lambda: hang(hangs=False), SIZE.outage),
        Fault("a Memcached hangs", cache.pause, cache.resume, SIZE.outage),
    ]


async def befall(faults: Sequence[Fault]) -> None:
    """Have them all happen, one after the other."""
    for fault in faults:
        await asyncio.sleep(SIZE.pause)
        print(f"{fault.name} for {fault.seconds:g} s")
        await asyncio.to_thread(fault.begin)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await asyncio.to_thread(fault.end)


@dataclass
class Visitor:
    """Somebody who calls all sorts of things, at one server after the other."""

    caller: Caller
    thread: int
    servers: Sequence[str]
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @property
    def calls(self) -> list[tuple[str, str, Any]]:
        thread = f"/chat/threads/{self.thread}/"
        assert self.caller.user
        login = {"username": self.caller.user.username, "password": PASSWORD}
        return [
            ("GET", "/auth/status/", None),
            ("GET", "/chat/threads/", None),
            ("PATCH", thread, {"title": "Other"}),
            ("GET", f"{thread}messages/", None),
            ("GET", "/chat/models/", None),
            ("POST", "/chat/threads/new/", {}),
            ("GET", "/health/ready/", None),
            ("POST", "/auth/login/", login),
            ("GET", "/auth/sessions/", None),
            ("POST", "/auth/logout/", None),  # of nobody
        ]

    def headers(self, path: str) -> dict[str, str]:
        """Return those of a call: a login with a session would end that one."""
        is_of_nobody = path in ("/auth/login/", "/auth/logout/")
        return {"Cookie": "" if is_of_nobody else self.caller.headers["Cookie"]}

    async def call_on(self) -> None:
        """Call until cancelled."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            for number in count():
                method, path, body = self.calls[number // 2 % len(self.calls)]
                server = self.servers[number % 2]
                try:
                    async with session.request(
                        method, server + path, json=body, headers=self.headers(path)
                    ) as response:
                        await response.read()
                        self.answers[method, path, response.status] += 1
                except (aiohttp.ClientError, ConnectionError, TimeoutError):
                    pass  # the server is dead or hangs
                await asyncio.sleep(CALL_SECONDS)

    def is_served(self) -> bool:
        """Return whether every call is answered by each server, as if nothing had happened."""
        return all(
            self.caller.request(
                method, server + path, json=body, headers=self.headers(path)
            ).is_success
            for server in self.servers
            for method, path, body in self.calls
        )


@asynccontextmanager
async def in_background(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_through(
    faults: Sequence[Fault], readers: Sequence[Reader], visitor: Visitor
) -> None:
    """Have everybody read and call while all goes wrong, and the readers read to the end."""
    seconds = sum(fault.seconds + SIZE.pause for fault in faults)
    async with in_background(visitor.call_on()), asyncio.TaskGroup() as group:
        group.create_task(befall(faults))
        group.create_task(read_all(readers, seconds))


def test_nothing_is_lost_or_doubled_while_each_part_dies_and_hangs(
    faults: list[Fault], servers: list[Server]
) -> None:
    addresses = [server.url for server in servers]
    caller = Caller(addresses[0], create_user("ann"))
    readers = [
        Reader(
            caller,
            caller.thread().pk,
            f"Question {number}",
            addresses[:: 1 - number % 2 * 2],
            carries_on=True,
        )
        for number in range(SIZE.replies)
    ]
    visitor = Visitor(caller, caller.thread().pk, addresses)
    connection.close()

    asyncio.run(read_through(faults, readers, visitor))

    report(readers, visitor)
    assert_whole(readers)
    for reader in readers:
        question, reply = Message.objects.filter(thread=reader.thread).order_by("pk")
        assert question.content == reader.message
        assert (reply.status, reply.content) == ("complete", "".join(tokens_for(reader.message)))
    assert not Message.objects.filter(status=MessageStatus.GENERATING).exists()
    refused = {status for reader in readers for status in reader.refusals}
    answered = {status for _, _, status in visitor.answers}
    assert refused | answered <= {200, 201, 409, 503, 504}
    wait_until(visitor.is_served, RECOVERY_SECONDS)
    assert not [crash for server in servers for crash in crashes_of(server)]


def crashes_of(server: Server) -> list[str]:
    """Return the entries of its log with a traceback, but those that say why a call was refused."""
    entries = re.split(r"\n(?=\d{4}-\d\d-\d\d )", server.log())
    return [
        entry
        for entry in entries
        if "Traceback" in entry and "The database does not answer" not in entry
    ]


def report(readers: Sequence[Reader], visitor: Visitor) -> None:
    """Print what happened, for whoever runs it by hand."""
    refusals = Counter(status for reader in readers for status in reader.refusals)
    failures = Counter(code for reader in readers for code in reader.failures)
    cuts, rewinds = sum(len(r.cuts) for r in readers), sum(r.rewinds for r in readers)
    print(f"{len(readers)} replies: {cuts} cuts, {rewinds} rewinds, {refusals=}, {failures=}")
    for (method, path, status), number in sorted(visitor.answers.items(), key=str):
        print(f"{number:5} {method} {path} {status}")

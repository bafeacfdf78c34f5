"""Two hosts behind nginx, each part of which is killed and hung once: every reply stays whole.

`make test-cluster` prints what users saw.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

import aiohttp
import pytest
from django.db import connection

from accounts.models import User
from chat.models import Message, MessageStatus
from llama_chatbot.tests.cluster import TOKENS, Cluster, cluster
from testing.people import Caller, create_user
from testing.persistent import Reader
from testing.processes import Nginx, PostgreSQL, Process
from testing.scripted_ollama.script import numbered

READERS = 12
BEGIN_SECONDS = 3.0  # in which they send their messages, one after the other
BEFORE_SECONDS = 1.0
AWAY_SECONDS = 4.0
HUNG_OLLAMA_SECONDS = 12.0  # far longer than until its replies go on at the other


def steady(cluster: Cluster) -> None:
    """Leave everything as it is."""


def rolling_deploy(cluster: Cluster) -> None:
    """Replace one process after the other."""
    for server in cluster.servers:
        began = time.monotonic()
        server.terminate(10)
        assert time.monotonic() - began < 2
        server.start()


def killed(*parts: Process) -> None:
    """Kill parts together, and start them again after a while."""
    for part in parts:
        part.kill()
    time.sleep(AWAY_SECONDS)
    for part in parts:
        part.start()


def hung(*parts: Process, seconds: float = AWAY_SECONDS) -> None:
    """Have parts hang together for a while: their ports stay open, and nothing answers."""
    for part in parts:
        part.pause()
    time.sleep(seconds)
    for part in parts:
        part.resume()


EVENTS: dict[str, Callable[[Cluster], None]] = {
    "steady load": steady,
    "rolling deploy": rolling_deploy,
    "a process is killed": lambda c: killed(c.servers[0]),
    "a process hangs": lambda c: hung(c.servers[1]),
    "a host is killed": lambda c: killed(*c.servers[2:], c.memcached[1]),
    "a host hangs": lambda c: hung(*c.servers[2:], c.memcached[1]),
    "a Memcached is killed": lambda c: killed(c.memcached[0]),
    "a Memcached hangs": lambda c: hung(c.memcached[0]),
    "PostgreSQL is killed": lambda c: killed(c.postgresql),
    "PostgreSQL hangs": lambda c: hung(c.postgresql),
    "an Ollama is killed": lambda c: killed(c.models[0]),
    "an Ollama hangs": lambda c: hung(c.models[1], seconds=HUNG_OLLAMA_SECONDS),
    "nginx is killed": lambda c: killed(c.nginx),
    "nginx hangs": lambda c: hung(c.nginx),
}


@pytest.fixture(scope="module")
def two_hosts(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The cluster of all these tests."""
    if not Nginx.available() or PostgreSQL.programs() is None:
        pytest.skip("nginx or PostgreSQL is not installed")
    with cluster(tmp_path_factory.mktemp("cluster"), server_environment) as two_hosts:
        yield two_hosts


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """What users saw, printed when all is done."""
    rows: list[str] = []
    yield rows
    heads = f"{'what happens':24}{'whole':>8}{'cut':>6}{'first character':>22}{'silence':>10}"
    print(f"\n\n{heads}  healed")
    print("\n".join(rows))


@pytest.fixture
def readers(two_hosts: Cluster) -> Iterator[list[Reader]]:
    """People who are about to send a message each."""
    url = two_hosts.nginx.url
    people = [Caller(url, create_user(f"user{number}")) for number in range(READERS)]
    yield [
        Reader(caller, caller.thread(model="bench").pk, f"Question {number}", [url])
        for number, caller in enumerate(people)
    ]
    User.all_objects.all().delete()


async def read_all(readers: list[Reader]) -> list[float]:
    """Have everybody send and read to the end; return when each of them began."""

    async def read(number: int, reader: Reader) -> float:
        await asyncio.sleep(number * BEGIN_SECONDS / READERS)
        began = time.monotonic()
        await reader.read(session)
        return began

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=20)
    async with (
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
        asyncio.timeout(60),
    ):
        return await asyncio.gather(*(read(*each) for each in enumerate(readers)))


def row(event: str, readers: list[Reader], began: list[float]) -> str:
    """Return what the readers saw, as a line of the table."""
    whole = sum(reader.ending == "end complete" for reader in readers)
    firsts = [reader.news[0] - at for reader, at in zip(readers, began, strict=True) if reader.news]
    gaps = [now - last for reader in readers for last, now in pairwise(reader.news)]
    healed = Counter(status for reader in readers for status in reader.refusals)
    first = f"p50 {median(firsts):.2f} max {max(firsts):.2f} s"
    return (
        f"{event:24}{whole:>5}/{READERS}{sum(len(reader.cuts) for reader in readers):>6}"
        f"{first:>22}{max(gaps):>8.2f} s  {dict(healed) or ''}"
    )


@pytest.mark.parametrize("event", EVENTS)
def test_every_reply_is_whole(
    two_hosts: Cluster, readers: list[Reader], table: list[str], event: str
) -> None:
    async def happen() -> None:
        await asyncio.sleep(BEFORE_SECONDS)
        await asyncio.to_thread(EVENTS[event], two_hosts)

    async def everything() -> list[float]:
        began, _ = await asyncio.gather(read_all(readers), happen())
        return began

    connection.close()  # to a PostgreSQL that may be killed
    began = asyncio.run(everything())

    table.append(row(event, readers, began))
    for reader in readers:
        whole = "".join(numbered(reader.message, TOKENS))
        assert (reader.ending, reader.text) == ("end complete", whole)
    assert not Message.objects.filter(status=MessageStatus.GENERATING).exists()
    assert Message.objects.count() == 2 * READERS
    assert not re.findall(r'" 50[02] ', two_hosts.nginx.log())

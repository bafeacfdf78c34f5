"""Two processes, one of which is always being killed or replaced: every reader gets a whole reply.

By hand at its full size, with the figures printed:
`KILL_TEST=whole pytest -s chat/tests/test_kill.py`.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import pytest

from testing.people import Caller, create_user
from testing.persistent import Reader, assert_whole, long_answer, read_all
from testing.processes import Memcached, Nginx, Server
from testing.scripted_ollama import ScriptedOllama
from testing.waiting import wait_until

KILL_SECONDS = 3.0
NO_SERVER = "The service is unavailable at the moment"  # nginx in the place of 502


class Size(NamedTuple):
    """How many replies there are, and in how many seconds they begin."""

    replies: int
    seconds: float


IS_WHOLE = os.environ.get("KILL_TEST") == "whole"
WHOLE = Size(200, 110)
WAVES, WAVE = 3, 8  # of the short form: how many processes are ended, each among so many readers


@pytest.fixture
def servers(
    own_database_url: str,
    server_environment: dict[str, str],
    memcached: Memcached,
    ollama: ScriptedOllama,
    tmp_path: Path,
) -> Iterator[list[Server]]:
    """Two processes, each with a port of its own."""
    ollama.script = long_answer
    settings = {"DATABASE_URL": own_database_url, "CACHE_LOCATION": memcached.location}
    environment = server_environment | settings
    with Server(tmp_path, environment) as one, Server(tmp_path, environment) as other:
        yield [one, other]


@asynccontextmanager
async def in_turn(
    servers: Sequence[Server], end: Callable[[Server], object], *, one_at_a_time: bool
) -> AsyncIterator[list[tuple[str, float]]]:
    """End one process every three seconds and start it anew; yield which ended when.

    With `one_at_a_time` the next one waits until the one before serves again.
    """
    ended: list[tuple[str, float]] = []
    starts: dict[str, asyncio.Task[None]] = {}

    async def go_on() -> None:
        for turn in count():
            server = servers[turn % len(servers)]
            await asyncio.sleep(KILL_SECONDS)
            if server.url in starts:
                await asyncio.wait([starts[server.url]])
            ended.append((server.url, time.monotonic()))
            await asyncio.to_thread(end, server)
            starts[server.url] = asyncio.create_task(asyncio.to_thread(server.start))
            if one_at_a_time:
                await asyncio.wait([starts[server.url]])

    task = asyncio.create_task(go_on())
    try:
        yield ended
    finally:
        task.cancel()
        await asyncio.wait([task])
        await asyncio.gather(*starts.values())


def waits_after(ended: Sequence[tuple[str, float]], readers: Sequence[Reader]) -> list[float]:
    """Return the seconds from the end of a process to the next new character of its readers."""
    waits = []
    for reader in readers:
        for server, cut_at in reader.cuts:
            ends = [at for url, at in ended if url == server and at <= cut_at]
            news = [at for at in reader.news if at > cut_at]
            if ends and news:
                waits.append(news[0] - ends[-1])
    return waits


def report(
    ended: Sequence[tuple[str, float]], readers: Sequence[Reader], waits: list[float]
) -> None:
    """Print what happened, for whoever runs it by hand."""
    cuts = quantiles(waits, n=100)
    print(
        f"\n{len(ended)} ended, {len(waits)} cuts, {sum(r.rewinds for r in readers)} rewinds,"
        f" refusals {[s for r in readers for s in r.refusals]};"
        f" next character after p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, max {max(waits):.2f} s"
    )


def readers_of(addresses: Sequence[str]) -> list[Reader]:
    """Return somebody's readers, each of a thread of its own; half begin at either address."""
    caller = Caller(addresses[0], create_user("ann"))
    return [
        Reader(caller, caller.thread().pk, f"Question {number}", addresses[:: 1 - number % 2 * 2])
        for number in range(WHOLE.replies if IS_WHOLE else WAVES * WAVE)
    ]


async def read_while(
    servers: Sequence[Server],
    end: Callable[[Server], object],
    readers: Sequence[Reader],
    *,
    one_at_a_time: bool,
) -> list[tuple[str, float]]:
    """Have all readers read while processes are ended; return which ended when."""
    if not IS_WHOLE:
        return await read_in_waves(servers, end, readers)
    async with in_turn(servers, end, one_at_a_time=one_at_a_time) as ended:
        await read_all(readers, WHOLE.seconds)
        return ended


async def read_in_waves(
    servers: Sequence[Server], end: Callable[[Server], object], readers: Sequence[Reader]
) -> list[tuple[str, float]]:
    """Have the readers begin in waves, and end a process as soon as all of a wave have text.

    So that a slow machine, on which a start takes long, sees as many ends as a fast one.
    """
    ended: list[tuple[str, float]] = []
    async with asyncio.TaskGroup() as group:
        for number in range(WAVES):
            wave, server = readers[number::WAVES], servers[number % len(servers)]
            group.create_task(read_all(wave, 0))
            await asyncio.to_thread(have_begun, wave)
            ended.append((server.url, time.monotonic()))
            await asyncio.to_thread(end, server)
            await asyncio.to_thread(server.start)
    return ended


def have_begun(readers: Sequence[Reader]) -> None:
    """Wait until each of these readers has some text."""
    wait_until(lambda: all(reader.news for reader in readers), 30)


def test_every_reader_has_a_whole_reply_while_processes_are_killed(servers: list[Server]) -> None:
    addresses = [server.url for server in servers]
    readers = readers_of(addresses)

    ended = asyncio.run(read_while(servers, Server.kill, readers, one_at_a_time=False))

    assert_whole(readers)
    waits = waits_after(ended, readers)
    report(ended, readers, waits)
    assert len(ended) >= WAVES
    assert (
        len(waits) >= WAVES * WAVE // 2
    )  # half of each wave read from the process that was killed
    assert not [log for server in servers if "Traceback" in (log := server.log())]


@pytest.mark.skipif(not Nginx.available(), reason="nginx is not installed")
def test_nobody_is_refused_while_processes_are_replaced(
    servers: list[Server], tmp_path: Path
) -> None:
    terminated: list[float] = []

    def terminate(server: Server) -> None:
        began = time.monotonic()
        server.terminate(10)
        terminated.append(time.monotonic() - began)

    with Nginx(tmp_path, servers, has_tls=False) as nginx:
        readers = readers_of([nginx.url])
        ended = asyncio.run(read_while(servers, terminate, readers, one_at_a_time=True))

    assert_whole(readers)
    refusals = [answer for reader in readers for answer in reader.refused_with]
    print(f"\nrefusals {refusals}, gone after {[round(each, 2) for each in terminated]}")
    assert not [answer for answer in refusals if NO_SERVER in answer]
    assert len(ended) == len(terminated) >= WAVES
    assert sum(len(reader.cuts) for reader in readers) >= WAVES
    assert max(terminated) < 2
    assert not [log for server in servers if "Traceback" in (log := server.log())]

"""Listening: what a thousand tabs cost that wait for something to happen to their users' threads.

All of them listen on one server, first while nothing happens, then while another server with the
same database renames a thread ten times a second: each time one of the listeners is told.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import aiohttp

from benchmarks.process import cpu_seconds, resident_bytes
from benchmarks.readers import client
from benchmarks.result import Result, note, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "listening"
PERCENT, KILOBYTES, SECONDS = 5.0, 50.0, 1.5
GOAL = f"1,000 listeners under {PERCENT:.0f} % of a core, {KILOBYTES:.0f} KB each; p99 {SECONDS} s"

APPLICATIONS = ("llama_chatbot.asgi:application",) * 2
PATH = "/chat/events/"
CHANGES_A_SECOND = 10
WARM = 50  # who listen before memory is measured, so that no thread or pool is new
SETTLE_SECONDS = 3.0


def measure(quick: bool = False) -> Result:
    """Have everybody listen, and measure the server and how late the news come."""
    number, seconds = (100, 4.0) if quick else (1000, 40.0)
    with world(applications=APPLICATIONS) as here:
        people = create_people(number + WARM)
        kilobytes, idle, busy, delays = run(listen(here, people, seconds))
    late = percentile(delays, 99)
    measured = f"{idle:.1%} of a core while nothing happens, {busy:.1%} with ten changes a second"
    measured += f", {kilobytes:.0f} KB each, told after p50 {percentile(delays, 50):.2f} s"
    measured += f", p99 {late:.2f} s"
    is_fine = max(idle, busy) * 100 < PERCENT and kilobytes < KILOBYTES and late < SECONDS
    return Result(measured, is_fine)


async def listen(
    here: World, people: Sequence[Person], seconds: float
) -> tuple[float, float, float, list[float]]:
    """Return the memory of each, the share of a core while idle and busy, and all delays."""
    server, other = here.servers
    async with client() as session, AsyncExitStack() as stack:
        warm = [await begin(stack, session, server.url, person) for person in people[:WARM]]
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_bytes(server.pid)
        streams = [await begin(stack, session, server.url, person) for person in people[WARM:]]
        await asyncio.sleep(SETTLE_SECONDS)
        kilobytes = (resident_bytes(server.pid) - before) / len(streams) / 1024
        told: dict[int, float] = {}
        reading = [asyncio.ensure_future(read(stream, told)) for stream in (*warm, *streams)]

        idle = await share_of_a_core(server.pid, seconds)
        note(f"{idle:.1%} of a core while nothing happens")
        changing = asyncio.ensure_future(change(session, other.url, people, seconds))
        busy = await share_of_a_core(server.pid, seconds)
        changed = await changing
        await asyncio.sleep(SETTLE_SECONDS)
        for one in reading:
            one.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    if missing := changed.keys() - told.keys():
        raise RuntimeError(f"nobody was told of {len(missing)} of {len(changed)} changes")
    return kilobytes, idle, busy, [told[number] - at for number, at in changed.items()]


async def begin(
    stack: AsyncExitStack, session: aiohttp.ClientSession, url: str, person: Person
) -> aiohttp.ClientResponse:
    """Begin to listen; return the stream once it has begun."""
    headers = {**person.headers, "Accept": "application/x-ndjson"}
    response = await stack.enter_async_context(session.get(url + PATH, headers=headers))
    response.raise_for_status()
    if json.loads(await response.content.readline())["type"] != "start":
        raise RuntimeError("the stream did not begin")
    return response


async def read(stream: aiohttp.ClientResponse, told: dict[int, float]) -> None:
    """Note when the threads were told of whose title is a number."""
    async for line in stream.content:
        if line.strip():
            told[int(json.loads(line)["title"])] = time.perf_counter()


async def change(
    session: aiohttp.ClientSession, url: str, people: Sequence[Person], seconds: float
) -> dict[int, float]:
    """Rename threads of different people; return when each was renamed, by its new title."""
    changed: dict[int, float] = {}
    # Two changes of a thread within a second may be told as one, so nobody's follow each other.
    order = random.sample(people, len(people))
    for number in range(round(seconds * CHANGES_A_SECOND)):
        person = order[number % len(order)]
        path = f"{url}/chat/threads/{person.threads[0]}/update-title/"
        async with session.put(path, headers=person.headers, json={"title": str(number)}) as done:
            done.raise_for_status()
        changed[number] = time.perf_counter()
        await asyncio.sleep(1 / CHANGES_A_SECOND)
    return changed


async def share_of_a_core(pid: int, seconds: float) -> float:
    """Return how much of a core a process uses over some seconds."""
    before, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.perf_counter() - began)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

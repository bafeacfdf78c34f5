"""Following: how often readers in another process query the database.

Without what their process asks of its own accord, which is counted before anybody reads.
"""

import asyncio
import time

import aiohttp

from benchmarks.readers import TOKEN_BYTES, client, read, require_whole, send
from benchmarks.result import Result, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "following"
LIMIT = 2.0
GOAL = f"at most {LIMIT:.0f} database reads a second and reader"

INTERVAL = 0.025
APPLICATIONS = ("llama_chatbot.asgi:application", "benchmarks.counting:application")
READERS = 20
LONGEST_GAP = 3.0  # seconds between two pieces; readers poll about twice a second
WARM_UP = 2.0  # seconds for the readers to begin


def measure(quick: bool = False) -> Result:
    """Have one server write a reply, and follow it through the other."""
    seconds = 2.0 if quick else 20.0
    tokens = round((2 * WARM_UP + seconds + 2) / INTERVAL)
    with world(interval=INTERVAL, tokens=tokens, applications=APPLICATIONS) as here:
        (person,) = create_people(1)
        reads = run(follow(here, person, seconds, tokens * TOKEN_BYTES))
    rate = reads / READERS
    return Result(f"{rate:.2f} reads a second and reader, of {READERS}", rate <= LIMIT)


async def follow(here: World, person: Person, seconds: float, size: int) -> float:
    """Return how many more reads per second their process makes while all readers follow.

    `size` is the size of the reply in bytes.
    """
    writer, other = here.servers
    async with client() as session:
        statements = f"{other.url}/statements/"
        idle = await rate_at(session, statements, seconds / 2)
        sending = asyncio.ensure_future(send(session, writer.url, person))
        await asyncio.sleep(WARM_UP)
        followed = other.url + person.sends_to
        following = [
            asyncio.ensure_future(read(session, "GET", followed, headers=person.headers))
            for _ in range(READERS)
        ]
        await asyncio.sleep(WARM_UP)
        busy = await rate_at(session, statements, seconds)
        if any(reader.done() for reader in following):
            raise RuntimeError("the reply ended while its readers were counted")
        readings = await asyncio.gather(*following)
        require_whole([await sending, *readings], size)
        if max(reading.longest_gap for reading in readings) > LONGEST_GAP:
            raise RuntimeError("the readers got the reply only after it was written")
    return busy - idle


async def rate_at(session: aiohttp.ClientSession, url: str, seconds: float) -> float:
    """Return by how much the page's number grows a second."""
    before, began = await number_at(session, url), time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended = await number_at(session, url), time.perf_counter()
    return (after - before) / (ended - began)


async def number_at(session: aiohttp.ClientSession, url: str) -> int:
    """Return the number that the page at `url` consists of."""
    async with session.get(url) as response:
        return int(await response.text())


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

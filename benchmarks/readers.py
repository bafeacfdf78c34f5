"""Readers of replies: they send a message or follow a reply, and time each piece."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import aiohttp

from benchmarks.world import Person
from testing.processes import Server

TOKEN_BYTES = len("word ")  # of the scripted model, in plain text
MESSAGE = {"message": "Tell me something about llamas, please: where do they live?"}


@dataclass
class Reading:
    """What one reader received; times are in seconds since the request was sent."""

    status: int = 0
    problem: str = ""
    pieces_at: list[float] = field(default_factory=list)
    size: int = 0  # bytes

    @property
    def is_whole(self) -> bool:
        """Whether the reply arrived in full."""
        return self.status == 200 and not self.problem and bool(self.pieces_at)

    @property
    def first_after(self) -> float:
        """The seconds until the first piece of the body."""
        return self.pieces_at[0]

    @property
    def longest_gap(self) -> float:
        """The longest time between two pieces, in seconds."""
        return max((later - earlier for earlier, later in pairwise(self.pieces_at)), default=0.0)


def client() -> aiohttp.ClientSession:
    """Return a client without limits and without a cookie jar."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_read=60),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def read(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    json: object = None,
) -> Reading:
    """Make one request and read its answer piece by piece; errors go into the reading."""
    reading = Reading()
    began = time.perf_counter()
    try:
        async with session.request(method, url, headers=headers, json=json) as response:
            reading.status = response.status
            async for piece in response.content.iter_any():
                reading.pieces_at.append(time.perf_counter() - began)
                reading.size += len(piece)
            if response.status != 200:
                reading.problem = f"status {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        reading.problem = f"{type(error).__name__}: {error}"
    return reading


async def send(
    session: aiohttp.ClientSession,
    url: str,
    person: Person,
    *,
    thread: int | None = None,
    accept: str = "text/plain",
) -> Reading:
    """Send a message to a thread, by default the person's first, and read the reply."""
    path = f"/chat/streaming-response/{thread}/" if thread else person.sends_to
    headers = {**person.headers, "Accept": accept}
    return await read(session, "POST", url + path, headers=headers, json=MESSAGE)


async def all_send(
    url: str,
    people: Sequence[Person],
    *,
    accept: str = "text/plain",
    over_seconds: float = 0.0,
) -> list[Reading]:
    """Have everybody send a message, at once or spread evenly, and read the replies."""
    pause = over_seconds / len(people)
    async with client() as session:

        async def one(index: int, person: Person) -> Reading:
            await asyncio.sleep(index * pause)
            return await send(session, url, person, accept=accept)

        return await asyncio.gather(*map(one, range(len(people)), people))


async def all_send_to(servers: Sequence[Server], people: Sequence[Person]) -> list[Reading]:
    """Have everybody send a message at once, to one server after the other, and read."""
    async with client() as session:
        urls = [servers[number % len(servers)].url for number in range(len(people))]
        return await asyncio.gather(*map(partial(send, session), urls, people))


def problems(readings: Sequence[Reading], size: int | None = None) -> list[str]:
    """Return each kind of problem with its count; each reply should have `size` bytes."""
    kinds = [
        reading.problem or f"a reply of {reading.size} bytes"
        for reading in readings
        if not reading.is_whole or size not in (None, reading.size)
    ]
    return [f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))]


def require_whole(readings: Sequence[Reading], size: int | None = None) -> None:
    """Raise `RuntimeError` unless every reply arrived in full, with `size` bytes if given."""
    if wrong := problems(readings, size):
        raise RuntimeError(f"of {len(readings)} replies: {', '.join(wrong)}")

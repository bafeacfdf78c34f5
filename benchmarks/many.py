"""Many at once: a thousand open replies on one worker, for two minutes."""

import asyncio
import time
from collections.abc import Sequence

from benchmarks.process import resident_bytes
from benchmarks.readers import TOKEN_BYTES, Reading, all_send, client, problems, read, require_whole
from benchmarks.result import Result, note, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "many at once"
STALL_SECONDS, KILOBYTES = 1.0, 200
GOAL = f"no error, no stall over {STALL_SECONDS:.0f} s, under {KILOBYTES} KB of memory each"

INTERVAL = 0.25  # 4 tokens a second
WARM = 50  # people who send a message before, so that no thread or pool is new


def measure(quick: bool = False) -> Result:
    """Open the replies over some seconds, and keep all of them open for the time wanted."""
    number, opening, seconds = (50, 1.0, 3.0) if quick else (1000, 40.0, 120.0)
    tokens = round((opening + seconds) / INTERVAL)
    with world(interval=INTERVAL, tokens=tokens) as here:
        people = create_people(number)
        run(begin_and_stop(here, people[:WARM]))
        before = resident_bytes(here.server.pid)
        readings, highest = run(read_and_watch(here, people, opening))
    errors = problems(readings, tokens * TOKEN_BYTES)
    began = [reading for reading in readings if reading.pieces_at]
    gap = max((reading.longest_gap for reading in began), default=0.0)
    wait = max((reading.first_after for reading in began), default=0.0)
    kilobytes = (highest - before) / number / 1024
    is_fine = not errors and max(gap, wait) <= STALL_SECONDS and kilobytes < KILOBYTES
    measured = f"longest stall {gap:.2f} s, before the first token {wait:.2f} s"
    measured += f", {kilobytes:.0f} KB each"
    return Result(f"{', '.join(errors) or 'no error'}, {measured}", is_fine)


async def begin_and_stop(here: World, people: Sequence[Person]) -> None:
    """Warm the server up; the replies are stopped, since they would be long."""
    sending = asyncio.ensure_future(all_send(here.server.url, people))
    await asyncio.sleep(2)
    async with client() as session:
        for person in people:
            url = f"{here.server.url}/chat/threads/{person.threads[0]}/stop/"
            await read(session, "POST", url, headers=person.headers)
    require_whole(await sending)


async def read_and_watch(
    here: World, people: Sequence[Person], opening: float
) -> tuple[list[Reading], int]:
    """Return everybody's reading, and the most memory that the server used meanwhile."""
    highest = 0
    reading = asyncio.ensure_future(all_send(here.server.url, people, over_seconds=opening))
    began = time.perf_counter()
    while not reading.done():
        await asyncio.wait([reading], timeout=1)
        highest = max(highest, resident_bytes(here.server.pid))
        if round(time.perf_counter() - began) % 20 == 0:
            note(f"{time.perf_counter() - began:.0f} s, {highest / 2**20:.0f} MB")
    return reading.result(), highest


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""What the queue costs a single reply: the time that it adds to the first token."""

import asyncio
from collections.abc import Sequence
from itertools import cycle

from benchmarks.readers import TOKEN_BYTES, Reading, client, require_whole, send
from benchmarks.result import Result, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "first token, alone, with OLLAMA_PARALLEL"
LIMIT_MS = 2.0
GOAL = f"p50 at most {LIMIT_MS:.0f} ms more than without"

TOKENS = 3
PEOPLE = 20
PAUSE = 0.02  # after each reply, so that the server can store its end
SETTINGS = ({"OLLAMA_PARALLEL": "0"}, {"OLLAMA_PARALLEL": "4"})


def measure(quick: bool = False) -> Result:
    """Ask a server without a limit and one with, in turn, so that a noisy moment affects both."""
    number = 20 if quick else 300
    with world(interval=0.001, tokens=TOKENS, settings=SETTINGS) as here:
        people = create_people(PEOPLE)
        without, limited = run(ask_in_turn(here, people, number))
    require_whole(without, TOKENS * TOKEN_BYTES)
    require_whole(limited, TOKENS * TOKEN_BYTES)
    p50 = [
        1000 * percentile([reading.first_after for reading in readings], 50)
        for readings in (without, limited)
    ]
    added = p50[1] - p50[0]
    return Result(
        f"p50 {p50[1]:.1f} ms, {p50[0]:.1f} ms without: {added:+.1f} ms", added <= LIMIT_MS
    )


async def ask_in_turn(
    here: World, people: Sequence[Person], number: int
) -> tuple[list[Reading], list[Reading]]:
    """Return `number` readings from each server."""
    readings: tuple[list[Reading], list[Reading]] = ([], [])
    who = cycle(people)
    async with client() as session:
        for server in here.servers:  # warm up
            for person in people[:5]:
                await send(session, server.url, person)
        for _ in range(number):
            for server, read in zip(here.servers, readings, strict=True):
                read.append(await send(session, server.url, next(who)))
                await asyncio.sleep(PAUSE)
    return readings


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""The first token of a single reply: the time added to that of asking Ollama directly."""

import asyncio
from collections.abc import Sequence

from benchmarks.readers import MESSAGE, TOKEN_BYTES, Reading, client, read, require_whole, send
from benchmarks.result import Result, percentile, run_alone
from benchmarks.world import MODEL, Person, World, create_people, run, world

WHAT = "first token, alone"
LIMIT_MS = 15.0
GOAL = f"p50 at most {LIMIT_MS:.0f} ms"

TOKENS = 3
PEOPLE = 20  # few enough for the threads to have some history by the end
PAUSE = 0.01  # after each reply, so that the server can store its end


def measure(quick: bool = False) -> Result:
    """Ask both in turn, so that a noisy moment affects both."""
    number = 20 if quick else 200
    with world(interval=0.001, tokens=TOKENS) as here:
        people = create_people(PEOPLE)
        directly, ours = run(ask_in_turn(here, people, number))
    require_whole(directly)
    require_whole(ours, TOKENS * TOKEN_BYTES)
    added = {
        percent: 1000 * (percentile(firsts(ours), percent) - percentile(firsts(directly), percent))
        for percent in (50, 99)
    }
    return Result(f"p50 {added[50]:.1f} ms, p99 {added[99]:.1f} ms", added[50] <= LIMIT_MS)


def firsts(readings: Sequence[Reading]) -> list[float]:
    """Return the times until the first piece."""
    return [reading.first_after for reading in readings]


async def ask_in_turn(
    here: World, people: Sequence[Person], number: int
) -> tuple[list[Reading], list[Reading]]:
    """Return `number` readings from Ollama itself, and as many from the server."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": MESSAGE["message"]}]}
    directly, ours = [], []
    async with client() as session:
        for person in people[:5]:  # warm up
            await send(session, here.server.url, person)
        for index in range(number):
            directly.append(await read(session, "POST", f"{here.model.url}/api/chat", json=body))
            ours.append(await send(session, here.server.url, people[index % len(people)]))
            await asyncio.sleep(PAUSE)
    return directly, ours


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

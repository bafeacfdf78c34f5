"""Waiting in the queue: what is measured, divided by what the simulation says.

Two processes on PostgreSQL, and two Ollamas that write two replies at once each. People send a
message, read the reply, think for a while and send again: in the one load the turns are enough for
most, in the other they are not.
"""

import asyncio
import random
from collections.abc import Sequence
from statistics import fmean

from benchmarks.readers import TOKEN_BYTES, Reading, client, require_whole, send
from benchmarks.result import Result, note, run_alone
from benchmarks.simulation import Load, simulate
from benchmarks.world import Person, World, create_people, run, world
from testing.processes import ScriptedModel

WHAT = "waiting in the queue, by what the simulation says"
LIMIT = 0.2
GOAL = "a mean within a fifth"

INTERVAL, TOKENS = 0.025, 40
HOSTS, PARALLEL = 2, 2
PAUSE = 3.0  # seconds, on average
LOADS = (14, 24)  # people
SIMULATED_SECONDS = 4000.0


def measure(quick: bool = False) -> Result:
    """Have fewer and more people send, and simulate both."""
    seconds, loads = (4.0, LOADS[-1:]) if quick else (60.0, LOADS)
    with ScriptedModel(INTERVAL, TOKENS) as one, ScriptedModel(INTERVAL, TOKENS) as other:
        for model in (one, other):
            model.wait()
        settings = {"OLLAMA_HOST": f"{one.url},{other.url}", "OLLAMA_PARALLEL": str(PARALLEL)}
        with world(on_postgresql=True, settings=(settings, settings)) as here:
            people = create_people(max(loads))
            alone = run(one_after_the_other(here, people))
            first = fmean(reading.first_after for reading in alone)
            reply = fmean(reading.pieces_at[-1] for reading in alone)
            note(f"alone: first token after {first:.3f} s, all after {reply:.2f} s")
            parts, ratios = [], []
            for number in loads:
                readings = run(all_talk(here, people[:number], seconds))
                require_whole(readings, TOKENS * TOKEN_BYTES)
                measured = fmean(reading.first_after for reading in readings) - first
                load = Load([1] * number, HOSTS, PARALLEL, reply, PAUSE, varies=False)
                simulated = fmean(w for each in simulate(load, SIMULATED_SECONDS) for w in each)
                ratios.append(measured / simulated)
                parts.append(f"{number} people {measured:.2f} over {simulated:.2f} s")
                note(parts[-1])
    return Result(
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} ({', '.join(parts)})",
        all(abs(ratio - 1) <= LIMIT for ratio in ratios),
    )


async def one_after_the_other(here: World, people: Sequence[Person]) -> list[Reading]:
    """Return readings of replies that do not wait, the first of which are left out."""
    async with client() as session:
        readings: list[Reading] = []
        for number, person in enumerate(people[:10]):
            server = here.servers[number % len(here.servers)]
            readings.append(await send(session, server.url, person))
    require_whole(readings, TOKENS * TOKEN_BYTES)
    return readings[4:]


async def all_talk(here: World, people: Sequence[Person], seconds: float) -> list[Reading]:
    """Return what people read who send for so long, but for the first tenth of the time."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def talk(number: int, person: Person) -> list[Reading]:
        drawn = random.Random(number)  # noqa: S311 - no secret  # nosec B311
        readings: list[Reading] = []
        while True:
            await asyncio.sleep(drawn.expovariate(1 / PAUSE))
            sent_at = loop.time() - began
            if sent_at > seconds:
                return readings
            server = drawn.choice(here.servers)
            reading = await send(session, server.url, person)
            if sent_at > seconds / 10:
                readings.append(reading)

    async with client() as session:
        each = await asyncio.gather(*(talk(*numbered) for numbered in enumerate(people)))
    return [reading for readings in each for reading in readings]


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""The fair queue: how much longer people wait when one of them sends to many threads at once.

Replies differ in length. Were all the same, turns would end together, and waits be whole numbers of
replies: their median would jump from one to the next.
"""

import asyncio
import random
from collections.abc import Sequence

from benchmarks.readers import Reading, client, require_whole, send
from benchmarks.result import Result, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world
from chat.models import Thread

WHAT = "waiting in the queue, ten people on four turns, beside one with twenty threads"
LIMIT = 1.2
GOAL = f"p50 at most {LIMIT} times of without that one"

PEOPLE = 10
GREEDY_THREADS = 20
SHORTEST = 0.3  # of the longest reply
TURNS = {"OLLAMA_PARALLEL": "4"}


def measure(quick: bool = False) -> Result:
    """Have ten people send again as soon as they are answered, without the greedy one and with."""
    tokens, rounds = (10, 2) if quick else (130, 16)
    with world(interval=0.01, tokens=tokens, settings=(TURNS,)) as here:
        people = create_people(PEOPLE)
        limit_replies(tokens)
        alone = run(load(here, people, Person(0, {}, ()), rounds))
        (greedy,) = create_people(1, GREEDY_THREADS, "greedy")
        limit_replies(tokens)
        beside = run(load(here, people, greedy, rounds))
    for readings in (alone, beside):
        require_whole(readings)
    waits = [percentile([r.first_after for r in readings], 50) for readings in (alone, beside)]
    ratio = waits[1] / waits[0]
    return Result(
        f"p50 {waits[0]:.2f} s, and {waits[1]:.2f} s beside that one: {ratio:.2f} times",
        ratio <= LIMIT,
    )


def limit_replies(longest: int) -> None:
    """Give the replies of each thread a length of their own."""
    drawn = random.Random(1)  # noqa: S311 - no secret  # nosec B311
    for thread in Thread.objects.order_by("pk"):
        thread.options = {"num_predict": round(longest * drawn.uniform(SHORTEST, 1))}
        thread.save(update_fields=["options"])


async def load(here: World, people: Sequence[Person], greedy: Person, rounds: int) -> list[Reading]:
    """Return what the people read, but for their first replies, which all begin at once."""
    async with client() as session:

        async def again(person: Person, thread: int) -> None:
            one = Person(person.user_id, person.headers, (thread,))
            while True:
                await send(session, here.server.url, one)

        async def some(person: Person) -> list[Reading]:
            return [await send(session, here.server.url, person) for _ in range(rounds)][1:]

        others = [asyncio.create_task(again(greedy, thread)) for thread in greedy.threads]
        await asyncio.sleep(0.5 if others else 0)  # all of them wait before anybody else comes
        try:
            readings = await asyncio.gather(*map(some, people))
        finally:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        return [reading for each in readings for reading in each]


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

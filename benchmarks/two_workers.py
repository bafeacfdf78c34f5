"""Two processes over one: what they relay, and how fast a burst is answered.

On PostgreSQL. Relaying: the tokens a second of readers whose model is faster than a process can
relay. Burst: the time until the last of a hundred has their first token. The model, the readers
and PostgreSQL use the same cores; so the ratio by CPU is there too: that of what a second of a
process's CPU time relays, times two.
"""

from collections.abc import Sequence

from benchmarks.process import cpu_seconds
from benchmarks.readers import TOKEN_BYTES, all_send_to, require_whole
from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import Person, create_people, run, world
from testing.processes import Server

WHAT = "two processes over one"
LIMIT = 1.7
GOAL = f"relaying and a burst at least {LIMIT} times as fast"


def measure(quick: bool = False) -> Result:
    """Compare rounds of both, taken in turn."""
    readers, tokens, rounds = (10, 40, 1) if quick else (100, 400, 3)
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    firsts: dict[int, list[float]] = {1: [], 2: []}
    with world(interval=0.001, tokens=tokens, on_postgresql=True, settings=({}, {})) as here:
        people = create_people(readers)
        require_whole(run(all_send_to(here.servers, people)))
        for _ in range(rounds):
            for number in (1, 2):
                servers = here.servers[:number]
                rate, cost, first = relay(servers, people, tokens)
                rates[number].append(rate)
                costs[number].append(cost)
                firsts[number].append(first)
                note(f"{number}: {rate:.0f} tokens a second, {cost:.1f} µs each, {first:.2f} s")
    relaying = median(rates[2]) / median(rates[1])
    burst = median(firsts[1]) / median(firsts[2])
    by_cpu = 2 * median(costs[1]) / median(costs[2])
    return Result(
        f"relaying {relaying:.2f} ({median(rates[2]):.0f} over {median(rates[1]):.0f} a second), "
        f"burst {burst:.2f} ({median(firsts[1]):.2f} over {median(firsts[2]):.2f} s), "
        f"by the CPU a token {by_cpu:.2f} ({median(costs[1]):.0f} and {median(costs[2]):.0f} µs)",
        min(relaying, burst) >= LIMIT,
    )


def relay(
    servers: Sequence[Server], people: Sequence[Person], tokens: int
) -> tuple[float, float, float]:
    """Have all send at once.

    Return the tokens a second, the microseconds of the servers' CPU for each, and when the last
    reader had the first one.
    """
    before = sum(cpu_seconds(server.pid) for server in servers)
    readings = run(all_send_to(servers, people))
    used = sum(cpu_seconds(server.pid) for server in servers) - before
    require_whole(readings, tokens * TOKEN_BYTES)
    last = max(reading.pieces_at[-1] for reading in readings)
    number = len(people) * tokens
    return number / last, used / number * 1e6, max(reading.first_after for reading in readings)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

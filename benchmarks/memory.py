"""Memory: how much the server uses after 2,000 replies, compared with after 200."""

from benchmarks.process import resident_bytes
from benchmarks.readers import TOKEN_BYTES, all_send, require_whole
from benchmarks.result import Result, note, run_alone
from benchmarks.world import create_people, run, world

WHAT = "memory"
LIMIT = 0.1
GOAL = "after 2,000 replies under 10 % more than after 200"

AT_ONCE = 20
TOKENS = 50


def measure(quick: bool = False) -> Result:
    """Have people talk at the same time, in conversations of at most twenty turns."""
    first, last = (40, 120) if quick else (200, 2000)
    held = {}
    with world(interval=0.001, tokens=TOKENS) as here:
        people = create_people(max(AT_ONCE, last // 20))
        for done in range(AT_ONCE, last + 1, AT_ONCE):
            begin = done % len(people)
            group = (people + people)[begin : begin + AT_ONCE]
            require_whole(run(all_send(here.server.url, group)), TOKENS * TOKEN_BYTES)
            if done in (first, last):
                held[done] = resident_bytes(here.server.pid) / 2**20
                note(f"{held[done]:.1f} MB after {done} replies")
    growth = held[last] / held[first] - 1
    return Result(f"{growth:+.1%} ({held[first]:.0f} to {held[last]:.0f} MB)", growth < LIMIT)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

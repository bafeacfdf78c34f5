"""The first token in a burst: a hundred people send a message at once."""

from benchmarks.readers import TOKEN_BYTES, all_send, problems
from benchmarks.result import Result, median, note, percentile, run_alone
from benchmarks.world import create_people, run, world

WHAT = "first token, in a burst"
LIMIT_SECONDS = 0.6
GOAL = f"p99 at most {LIMIT_SECONDS} s, none refused"

INTERVAL = 0.025  # 40 tokens a second: the first readers' tokens compete with the last one's first


def measure(quick: bool = False) -> Result:
    """Send all messages at once, in several rounds; each sender has a new connection."""
    senders, tokens, rounds = (20, 20, 1) if quick else (100, 80, 5)
    firsts = []
    refused: list[str] = []
    with world(interval=INTERVAL, tokens=tokens) as here:
        people = create_people(senders)
        run(all_send(here.server.url, people[:20]))  # warm up
        for _ in range(rounds):
            readings = run(all_send(here.server.url, people))
            refused += problems(readings, tokens * TOKEN_BYTES)
            first = [reading.first_after for reading in readings if reading.is_whole]
            firsts.append(percentile(first, 99))
            note(f"p50 {percentile(first, 50):.2f} s, p99 {firsts[-1]:.2f} s")
    measured = f"p99 {median(firsts):.2f} s, " + (", ".join(refused) or "none refused")
    return Result(measured, median(firsts) <= LIMIT_SECONDS and not refused)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

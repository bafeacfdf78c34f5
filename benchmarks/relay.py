"""Relaying a token: the server's CPU time per token, divided by that of the bare client.

Everything counts: taking the message, the database, the checkpoints and the end of the answer. The
server has answered as many messages before, so it is warmed up.
"""

import subprocess
import sys

from benchmarks.process import cpu_seconds
from benchmarks.readers import MESSAGE, TOKEN_BYTES, all_send, require_whole
from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import MODEL, World, create_people, run, world

WHAT = "relaying a token"
LIMIT = 2.0
FORM_LIMIT = 1.2  # of what the other forms of events cost, by server-sent events
GOAL = f"at most {LIMIT}; other forms of events at most {FORM_LIMIT} times server-sent events"

INTERVAL = 0.025  # 40 tokens a second
TEXT, EVENTS, AI_SDK = "text/plain", "text/event-stream", "text/event-stream; profile=ai-sdk"
FORMS = (TEXT, EVENTS, AI_SDK)


def measure(quick: bool = False) -> Result:
    """Compare rounds of both, taken in turn."""
    readers, tokens, rounds = (10, 20, 1) if quick else (100, 200, 3)
    bare: list[float] = []
    ours: dict[str, list[float]] = {form: [] for form in FORMS}
    with world(interval=INTERVAL, tokens=tokens) as here:
        people = create_people(readers)
        require_whole(run(all_send(here.server.url, people)))
        for _ in range(rounds):
            bare.append(bare_cost(here, readers, tokens))
            for form in FORMS:
                before = cpu_seconds(here.server.pid)
                readings = run(all_send(here.server.url, people, accept=form))
                used = cpu_seconds(here.server.pid) - before
                size = tokens * TOKEN_BYTES
                require_whole(readings, size if form == TEXT else None)
                if min(reading.size for reading in readings) < size:
                    raise RuntimeError("a reply has not all its tokens")
                ours[form].append(used / (readers * tokens) * 1_000_000)
            costs = ", ".join(f"{form} {costs[-1]:.1f}" for form, costs in ours.items())
            note(f"bare {bare[-1]:.1f} µs of CPU a token, {costs}")

    text, events, ai_sdk = (median(ours[form]) / median(bare) for form in FORMS)
    return Result(
        f"{text:.2f} ({median(ours[TEXT]):.0f} µs over {median(bare):.0f} µs; as server-sent "
        f"events {events:.2f}, for the AI SDK {ai_sdk / events:.2f} times that)",
        text <= LIMIT and ai_sdk / events <= FORM_LIMIT,
    )


def bare_cost(here: World, readers: int, tokens: int) -> float:
    """Return the microseconds of CPU a token of the bare client, which asks the same model."""
    command = [sys.executable, "-m", "benchmarks.bare_client", "--url", here.model.url]
    command += ["--model", MODEL, "--readers", str(readers), "--message", MESSAGE["message"]]
    command += ["--tokens", str(tokens)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

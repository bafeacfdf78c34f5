"""Relaying a token: the server's CPU time per token, divided by that of the bare client.

Everything counts: taking the message, the database, the checkpoints and the end of the answer. The
server has answered as many messages before, so it is warmed up.
"""

import asyncio
import subprocess
import sys
from typing import Any

from benchmarks.process import cpu_seconds
from benchmarks.readers import (
    MESSAGE,
    TOKEN_BYTES,
    Reading,
    all_send,
    client,
    read,
    require_whole,
)
from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import MODEL, Person, World, create_people, create_token, run, world

WHAT = "relaying a token"
LIMIT = 2.0
FORM_LIMIT = 1.2  # of what the other forms of events cost, by server-sent events
GOAL = f"at most {LIMIT}; other forms of events at most {FORM_LIMIT} times server-sent events"

INTERVAL = 0.025  # 40 tokens a second
TEXT, EVENTS = "text", "events"
COMPLETIONS, RESPONSES = "chat completions", "responses"
ACCEPT = {
    TEXT: "text/plain",
    EVENTS: "text/event-stream",
    "the AI SDK": "text/event-stream; profile=ai-sdk",
}
FORMS = (*ACCEPT, COMPLETIONS, RESPONSES)


def measure(quick: bool = False) -> Result:
    """Compare rounds of both, taken in turn."""
    readers, tokens, rounds = (10, 20, 1) if quick else (100, 200, 3)
    bare: list[float] = []
    ours: dict[str, list[float]] = {form: [] for form in FORMS}
    with world(interval=INTERVAL, tokens=tokens) as here:
        people = create_people(readers)
        keys = [create_token(person) for person in people]
        require_whole(run(all_send(here.server.url, people)))
        for _ in range(rounds):
            bare.append(bare_cost(here, readers, tokens))
            for form in FORMS:
                before = cpu_seconds(here.server.pid)
                readings = run(all_ask(here.server.url, people, keys, form))
                used = cpu_seconds(here.server.pid) - before
                size = tokens * TOKEN_BYTES
                require_whole(readings, size if form == TEXT else None)
                if min(reading.size for reading in readings) < size:
                    raise RuntimeError("a reply has not all its tokens")
                ours[form].append(used / (readers * tokens) * 1_000_000)
            costs = ", ".join(f"{form} {costs[-1]:.1f}" for form, costs in ours.items())
            note(f"bare {bare[-1]:.1f} µs of CPU a token, {costs}")

    text, events = (median(ours[form]) / median(bare) for form in (TEXT, EVENTS))
    others = {form: median(ours[form]) / median(ours[EVENTS]) for form in FORMS[2:]}
    told = ", ".join(f"{form} {ratio:.2f}" for form, ratio in others.items())
    return Result(
        f"{text:.2f} ({median(ours[TEXT]):.0f} µs over {median(bare):.0f} µs; as server-sent "
        f"events {events:.2f}; over these: {told})",
        text <= LIMIT and max(others.values()) <= FORM_LIMIT,
    )


async def all_ask(url: str, people: list[Person], keys: list[str], form: str) -> list[Reading]:
    """Have everybody ask the same, and read the replies in this form."""
    if form in ACCEPT:
        return await all_send(url, people, accept=ACCEPT[form])
    async with client() as session:

        async def ask(person: Person, key: str) -> Reading:
            headers, text = {"Authorization": f"Bearer {key}"}, MESSAGE["message"]
            body: dict[str, Any] = {"model": MODEL, "stream": True}
            if form == COMPLETIONS:
                body["messages"] = [{"role": "user", "content": text}]
                path = "/v1/chat/completions"
            else:
                body |= {"input": text, "conversation": f"conv_{person.threads[0]}"}
                path = "/v1/responses"
            return await read(session, "POST", url + path, headers=headers, json=body)

        return await asyncio.gather(*map(ask, people, keys))


def bare_cost(here: World, readers: int, tokens: int) -> float:
    """Return the microseconds of CPU a token of the bare client, which asks the same model."""
    command = [sys.executable, "-m", "benchmarks.bare_client", "--url", here.model.url]
    command += ["--model", MODEL, "--readers", str(readers), "--message", MESSAGE["message"]]
    command += ["--tokens", str(tokens)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

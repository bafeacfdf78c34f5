"""What PostgreSQL has to do for a reply, and what a turn costs among many: for docs/scaling.md.

Replies of 200 tokens at 40 a second, a hundred at once, in one process. PostgreSQL's CPU time, its
log (WAL) and its disk are what grew meanwhile, divided by the replies. A turn is one transaction
at a time over all processes, so how long it takes is how many there can be.
"""

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from django.test import override_settings
from django.utils import timezone

from benchmarks.process import TICKS
from benchmarks.readers import TOKEN_BYTES, all_send, require_whole
from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import create_people, run, world
from chat.models import Turn, Worker
from chat.replies import turns
from chat.replies.turns import Ticket
from core import sql
from testing.processes.base import children_of

WHAT = "a reply's cost to PostgreSQL, and a turn's among 1,000 calls"
CPU_MS, TURN_MS = 15.0, 100.0
GOAL = f"at most {CPU_MS:.0f} ms of CPU, and {TURN_MS:.0f} ms"

INTERVAL, TOKENS = 0.025, 200
PARALLEL = 4
ELSEWHERE = "elsewhere/1/0123abcd"


def measure(quick: bool = False) -> Result:
    """Measure both on one PostgreSQL."""
    readers, tokens, rounds, sizes = (10, 20, 1, (100,)) if quick else (100, TOKENS, 3, (100, 1000))
    with world(interval=INTERVAL, tokens=tokens, on_postgresql=True) as here:
        people = create_people(readers)
        require_whole(run(all_send(here.server.url, people)), tokens * TOKEN_BYTES)
        time.sleep(3)  # in which all is indexed
        before = used()
        for _ in range(rounds):
            require_whole(run(all_send(here.server.url, people)), tokens * TOKEN_BYTES)
        time.sleep(3)
        replies = rounds * readers
        cpu, wal, disk, commits = (
            (now - then) / replies for now, then in zip(used(), before, strict=True)
        )
        taken = []
        for calls in sizes:
            taken.append(seconds_of_a_turn(calls, hosts=4) * 1000)
            note(f"a turn among {calls} calls on 4 hosts: {taken[-1]:.1f} ms")
        note(f"on 64 hosts: {seconds_of_a_turn(sizes[-1], hosts=64) * 1000:.1f} ms")
    return Result(
        f"{cpu * 1000:.1f} ms of CPU, {commits:.1f} transactions, {wal / 1024:.1f} KB of log, "
        f"{disk / 1024:.1f} KB of disk; a turn {taken[-1]:.0f} ms",
        cpu * 1000 <= CPU_MS and taken[-1] <= TURN_MS,
    )


def used() -> Sequence[float]:
    """Return PostgreSQL's CPU seconds, and its bytes of log and of disk, and its transactions."""
    (numbers,) = sql.rows(
        "SELECT pg_backend_pid(), pg_current_wal_lsn() - '0/0',"
        " pg_database_size(current_database()), (SELECT sum(xact_commit) FROM pg_stat_database)"
    )
    backend, wal, disk, commits = map(int, numbers)
    first = int(_stat(backend)[1])
    family = sum(int(ticks) for ticks in _stat(first)[11:15])  # with those that have ended
    family += sum(sum(map(int, _stat(child)[11:13])) for child in children_of(first))
    return family / TICKS, wal, disk, commits


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def seconds_of_a_turn(calls: int, hosts: int) -> float:
    """Return how long one takes its place behind so many calls of other processes."""
    names = [f"http://gpu-{number}:11434" for number in range(hosts)]
    Worker.objects.update_or_create(name=ELSEWHERE, defaults={"seen_at": timezone.now()})
    Turn.objects.bulk_create(
        Turn(
            user_id=number,
            conversation=str(number),
            model="bench",
            host=names[number % hosts] if number < hosts * PARALLEL else "",
            owner=ELSEWHERE,
            queued_at=timezone.now() + timedelta(milliseconds=number),
        )
        for number in range(calls)
    )
    times = []
    with override_settings(OLLAMA_PARALLEL=PARALLEL):
        for _ in range(20):
            ticket = Ticket(0, "bench", "0")
            began = time.perf_counter()
            turns.take([ticket], [], [], lambda _: names)
            times.append(time.perf_counter() - began)
            turns.take([], [ticket], [], lambda _: names)
    Turn.objects.all().delete()
    return median(times)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

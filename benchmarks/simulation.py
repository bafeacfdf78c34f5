"""Simulates the queue, for more users and hosts than a machine can hold.

It has neither servers nor a clock, but the rule itself: `in_fair_order` and `assign` in
`chat/replies/turns.py` say whose turn it is and where. As there, a process takes turns for its own
calls only: when one begins or ends, and twice a second while one waits. The benchmark `waiting`
compares it with a real run.

python -m benchmarks.simulation  print the table of docs/scaling.md
"""

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from django.test import override_settings

import benchmarks.world  # noqa: F401 - sets Django up
from benchmarks.result import percentile
from chat.replies.owner import this_process
from chat.replies.queue import POLL_SECONDS
from chat.replies.turns import Row, assign, in_fair_order

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# Of the table.
HOSTS = (1, 4, 16)
PEOPLE = (12, 14, 16, 18, 20, 22)
PARALLEL = 4
REPLY, PAUSE = 6.0, 114.0
SECONDS = 1200.0


@dataclass(frozen=True)
class Load:
    """Who asks for what; times are in seconds."""

    threads: Sequence[int]  # of each user, who sends to all of them at once
    hosts: int
    parallel: int  # replies at once at each host
    reply: float  # how long one is written
    pause: float  # after a reply, before the next message: a mean, exponentially distributed
    processes: int = 2
    varies: bool = True  # whether `reply` is such a mean, too, and not the same for all


@dataclass(eq=False)
class Call:
    """A message whose reply waits, or is written."""

    row: Row
    process: int
    thread: tuple[int, int]  # its user, and which of their threads
    sent_at: float


class Simulation:
    """The events of one run, in the order of their times."""

    def __init__(self, load: Load, seed: int) -> None:
        self.load = load
        self.waits: list[list[tuple[float, float]]] = [[] for _ in load.threads]
        self._random = random.Random(seed)  # noqa: S311 - no secret  # nosec B311
        self._hosts = [f"host-{number}" for number in range(load.hosts)]
        self._calls: dict[int, Call] = {}  # by the id of its row, the oldest first
        self._events: list[tuple[float, int, str, object]] = []
        self._numbers = count()
        self._looks: dict[int, float] = {}  # when each process looks next, if it waits

    def run(self, seconds: float) -> None:
        """Run for so long; when each user has sent and how long that waited is then in `waits`."""
        for user, threads in enumerate(self.load.threads):
            for thread in range(threads):
                self._at(self._drawn(self.load.pause), "send", (user, thread))
        with override_settings(OLLAMA_PARALLEL=self.load.parallel):
            while self._events[0][0] < seconds:
                now, _, kind, subject = heapq.heappop(self._events)
                getattr(self, f"_{kind}")(now, subject)

    def _send(self, now: float, thread: tuple[int, int]) -> None:
        number, process = next(self._numbers), self._random.randrange(self.load.processes)
        row = Row(
            id=number,
            user_id=thread[0],
            reply_id=None,
            conversation=str(thread),
            model="",
            host="",
            owner=this_process(),
            status=None,
            thread_id=None,
            waits_since=_time(now),
            seen_at=None,
            now=_time(now),
        )
        self._calls[number] = Call(row, process, thread, now)
        self._look(now, process)

    def _end(self, now: float, call: Call) -> None:
        del self._calls[call.row.id]
        for other in self._calls.values():
            if other.thread[0] == call.thread[0] and not other.row.is_running:
                other.row = other.row._replace(waits_since=_time(now))
        self._at(now + self._drawn(self.load.pause), "send", call.thread)
        self._look(now, call.process)

    def _look(self, now: float, process: int) -> None:
        """Take turns for the calls of a process."""
        rows = [call.row for call in self._calls.values()]
        loads = Counter(row.host for row in rows if row.is_running)
        for row, host in assign(in_fair_order(rows), loads, lambda _: self._hosts).items():
            call = self._calls[row.id]
            if call.process == process:
                call.row = row._replace(host=host)
                self.waits[call.thread[0]].append((call.sent_at, now - call.sent_at))
                reply = self.load.reply
                self._at(now + (self._drawn(reply) if self.load.varies else reply), "end", call)
        self._looks.pop(process, None)
        if any(c.process == process and not c.row.is_running for c in self._calls.values()):
            self._looks[process] = now + POLL_SECONDS
            self._at(now + POLL_SECONDS, "look_again", process)

    def _look_again(self, now: float, process: int) -> None:
        if self._looks.get(process) == now:  # not a look that another has come before
            self._look(now, process)

    def _at(self, time: float, kind: str, subject: object) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), kind, subject))

    def _drawn(self, mean: float) -> float:
        return self._random.expovariate(1 / mean)


def simulate(load: Load, seconds: float, seed: int = 1) -> list[list[float]]:
    """Return how long the messages of each user waited, in seconds.

    Without those of the first tenth of the time, before which nobody had to wait.
    """
    simulation = Simulation(load, seed)
    simulation.run(seconds)
    return [
        [wait for sent_at, wait in waits if sent_at > seconds / 10] for waits in simulation.waits
    ]


def _time(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def main() -> None:
    """Print how long people wait, by how many there are for each turn and by the hosts."""
    print(f"| people for each turn | {' | '.join(f'at {hosts} Ollamas' for hosts in HOSTS)} |")
    print("|---" * (1 + len(HOSTS)) + "|")
    for people in PEOPLE:
        cells = []
        for hosts in HOSTS:
            threads = [1] * (people * hosts * PARALLEL)
            load = Load(threads, hosts, PARALLEL, REPLY, PAUSE, processes=max(2, hosts // 4))
            seconds = SECONDS * HOSTS[-1] / hosts  # as many replies in each case
            waits = [wait for each in simulate(load, seconds) for wait in each]
            cells.append(f"{percentile(waits, 50):.1f} s, {percentile(waits, 95):.1f} s")
        print(f"| {people} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Pools of threads say how many are busy, and how much work waits."""

import threading
from collections.abc import Iterator

import pytest

from core.threads import Threads, Use
from testing.waiting import wait_until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the work of these tests waits for."""
    gate = threading.Event()
    yield gate
    gate.set()


def use(name: str) -> Use:
    return Threads.use()[name]


def test_work_is_under_way_or_waits_for_a_thread(gate: threading.Event) -> None:
    with Threads(2, "gates") as threads:
        futures = [threads.submit(gate.wait, 10) for _ in range(5)]
        assert use("gates") == Use(size=2, in_use=2, waiting=3)

        gate.set()

        assert [future.result() for future in futures] == [True] * 5
        wait_until(lambda: use("gates") == Use(size=2, in_use=0, waiting=0))


def test_work_that_was_cancelled_or_failed_waits_no_more(gate: threading.Event) -> None:
    with Threads(1, "cancelled") as threads:
        threads.submit(gate.wait, 10)
        failing = threads.submit(int, "not a number")
        cancelled = threads.submit(gate.wait, 10)
        assert cancelled.cancel()
        assert use("cancelled") == Use(size=1, in_use=1, waiting=1)

        gate.set()

        assert isinstance(failing.exception(), ValueError)
        wait_until(lambda: use("cancelled") == Use(size=1, in_use=0, waiting=0))


def test_pools_of_one_name_count_as_one(gate: threading.Event) -> None:
    with Threads(1, "twins") as first, Threads(1, "twins"):
        for _ in range(2):
            first.submit(gate.wait, 10)

        assert use("twins") == Use(size=2, in_use=1, waiting=1)
        gate.set()

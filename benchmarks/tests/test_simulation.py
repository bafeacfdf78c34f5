"""The simulation of the queue, against what the theory of queues says."""

from math import comb, factorial
from statistics import fmean

import pytest

from benchmarks.simulation import Load, simulate


def mean(waits: list[list[float]]) -> float:
    return fmean(wait for each in waits for wait in each)


def theory(users: int, turns: int, reply: float, pause: float) -> float:
    """Return the mean wait of so many users who pause: the machine repairman's, M/M/c//N."""
    ratio = reply / pause
    weights = [
        comb(users, busy)
        * ratio**busy
        * (1 if busy <= turns else factorial(busy) / (factorial(turns) * turns ** (busy - turns)))
        for busy in range(users + 1)
    ]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    queued = sum(max(busy - turns, 0) * share for busy, share in enumerate(shares))
    rate = sum((users - busy) / pause * share for busy, share in enumerate(shares))
    return queued / rate


@pytest.mark.parametrize("users", [4, 8, 16])
def test_people_wait_as_long_as_theory_says(users: int) -> None:
    load = Load([1] * users, hosts=1, parallel=2, reply=6, pause=30, processes=1)

    assert mean(simulate(load, 40_000)) == pytest.approx(theory(users, 2, 6, 30), rel=0.1, abs=0.05)


def test_nobody_waits_while_there_are_turns_for_all() -> None:
    load = Load([1] * 4, hosts=2, parallel=4, reply=6, pause=1)

    assert mean(simulate(load, 1000)) == 0


def test_several_hosts_are_as_good_as_one_with_as_many_turns() -> None:
    one = Load([1] * 40, hosts=1, parallel=4, reply=6, pause=30, processes=1)
    four = Load([1] * 40, hosts=4, parallel=1, reply=6, pause=30, processes=1)

    assert mean(simulate(four, 8_000)) == pytest.approx(mean(simulate(one, 8_000)), rel=0.1)


def test_a_turn_that_ends_in_another_process_is_noticed_within_half_a_second() -> None:
    one = Load([1] * 12, hosts=1, parallel=2, reply=6, pause=30, processes=1)
    many = Load([1] * 12, hosts=1, parallel=2, reply=6, pause=30, processes=12)

    longer = mean(simulate(many, 20_000)) - mean(simulate(one, 20_000))

    assert 0.1 < longer < 0.8


def test_one_with_twenty_threads_hardly_keeps_others_waiting() -> None:
    people = Load([1] * 10, hosts=1, parallel=4, reply=1, pause=0.01, varies=False)
    beside = Load([1] * 10 + [20], hosts=1, parallel=4, reply=1, pause=0.01, varies=False)

    waits = simulate(beside, 500)

    assert mean(waits[:10]) < 1.25 * mean(simulate(people, 500))
    assert mean(waits[10:]) > 5 * mean(waits[:10])

"""The result of a benchmark, and the statistics that benchmarks share."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Result", "median", "note", "percentile", "run_alone"]


@dataclass(frozen=True)
class Result:
    """What was measured, with units, and whether that meets the goal."""

    measured: str
    met: bool


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed (nearest rank)."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(1, rank) - 1]


def note(text: str) -> None:
    """Print a benchmark's progress to standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def run_alone(what: str, goal: str, measure: Callable[[bool], Result]) -> None:
    """Run one benchmark as a command of its own; `--quick` runs its short form."""
    parser = argparse.ArgumentParser(description=f"Measures {what}; the goal is {goal}.")
    parser.add_argument("--quick", action="store_true", help="a short form, without a verdict")
    quick = parser.parse_args().quick
    result = measure(quick)
    verdict = "" if quick else f"; the goal is {goal}: {'met' if result.met else 'MISSED'}"
    print(f"{what}: {result.measured}{verdict}")

"""Start-up: how long a fresh interpreter takes to import the project's ASGI application."""

import os
import subprocess
import sys

from benchmarks.result import Result, median, run_alone
from benchmarks.world import ENVIRONMENT

WHAT = "start"
LIMIT_SECONDS = 1.5
GOAL = f"under {LIMIT_SECONDS} s"

PROGRAM = """
import time
began = time.perf_counter()
import llama_chatbot.asgi
print(time.perf_counter() - began)
"""


def measure(quick: bool = False) -> Result:
    """Import it in several interpreters, one after the other."""
    rounds = 1 if quick else 5
    seconds = [import_seconds() for _ in range(rounds)]
    return Result(f"{median(seconds):.2f} s", median(seconds) < LIMIT_SECONDS)


def import_seconds() -> float:
    """Return how long one import took."""
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

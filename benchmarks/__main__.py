"""Runs the benchmarks and writes their results to docs/performance.md.

python -m benchmarks              run all, and update the page (under 20 minutes)
python -m benchmarks relay lists  run some, and print only
python -m benchmarks --quick      run a short form of each to see that it works, without verdicts
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks.process import PAGE_BYTES
from benchmarks.result import Result, note

NAMES = (
    "relay",
    "first_token",
    "burst",
    "many",
    "following",
    "listening",
    "lists",
    "plain_calls",
    "long_conversations",
    "long_threads",
    "search",
    "queue_cost",
    "fairness",
    "waiting",
    "affinity",
    "two_workers",
    "sizing",
    "memory",
    "page",
    "start",
)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True)
class Row:
    """One row of the table; a benchmark that broke has no result."""

    what: str
    goal: str
    result: Result | None

    def cells(self, quick: bool) -> list[str]:
        """Return the texts of the cells."""
        if self.result is None:
            return [self.what, "failed: see above", self.goal, "**error**"]
        verdict = "met" if self.result.met else "**missed**"
        return [self.what, self.result.measured, self.goal, "-" if quick else verdict]


def main() -> int:
    """Run the benchmarks; return the exit code: 1 if one of them broke, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="short forms, without verdicts")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")

    # As on Ctrl-C: leave by an exception, so that whatever was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = describe_machine()
    began = time.monotonic()
    rows = [run_one(name, arguments.quick) for name in arguments.names or NAMES]
    minutes = (time.monotonic() - began) / 60
    lines = table(rows, arguments.quick)
    print("\n".join(lines))
    if not arguments.names and not arguments.quick:
        write_page([*lines, "", f"{machine} The run took {minutes:.0f} minutes."])
    return int(any(row.result is None for row in rows))


def run_one(name: str, quick: bool) -> Row:
    """Run one benchmark; an error in it becomes a row too."""
    print(f"{name} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    what, goal = name.replace("_", " "), ""
    try:
        module = import_module(f"benchmarks.{name}")
        what, goal = module.WHAT, module.GOAL
        result = module.measure(quick)
        note(result.measured)
        return Row(what, goal, result)
    except Exception:  # the others are still to be run
        traceback.print_exc()
        return Row(what, goal, None)
    finally:
        note(f"took {time.monotonic() - began:.0f} s")


def table(rows: Sequence[Row], quick: bool) -> list[str]:
    """Return the lines of a Markdown table."""
    cells = [["what", "measured", "goal", "verdict"], *(row.cells(quick) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in (cells[0], ["---"] * 4, *cells[1:])]


def write_page(lines: Sequence[str]) -> None:
    """Put the lines between the page's markers; the rest of the page is written by hand."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"]))


def describe_machine() -> str:
    """Return a sentence about the machine, and how busy it was before the run."""
    gigabytes = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES / 2**30
    return (
        f"Taken on {datetime.now(UTC):%Y-%m-%d}: {processor()}, {os.cpu_count()} cores, "
        f"{gigabytes:.0f} GB, {system()}, Python {platform.python_version()}; "
        f"load average {os.getloadavg()[1]:.1f} before the run."
    )


def processor() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    elif sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    return platform.machine()


def system() -> str:
    """Return the operating system's name."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)


if __name__ == "__main__":
    sys.exit(main())

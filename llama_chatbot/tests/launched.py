"""The project as `make run` launches it, and the processes that belong to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from llama_chatbot.tests.clones import environment
from testing.processes import ROOT
from testing.waiting import wait_until


def processes() -> dict[int, tuple[int, str]]:
    """Every process that is alive on this machine: its parent and its command."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split(None, 3) for line in listing.stdout.splitlines())
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if row[2][0] != "Z"}


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, children's children included, and their commands."""
    everyone = processes()
    found: dict[int, str] = {}
    generation = {pid}
    while generation:
        generation = {each for each, (parent, _) in everyone.items() if parent in generation}
        found |= {each: everyone[each][1] for each in generation}
    return found


class Launched:
    """`make run`'s second half, as it runs from the .venv of this test."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.port = int(env["PORT"])
        self.log = directory / "launch.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llama_chatbot.launch"],
                cwd=ROOT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: text in self.output or self.process.poll() is not None, 60, lambda: self.output
        )
        assert text in self.output

    def wait_until_ready(self) -> str:
        """Wait for the line that says so, and return it."""
        self.wait_for("| head -1)/\n")
        return next(
            line for line in self.output.splitlines() if line.startswith("Llama Chatbot is")
        )

    @property
    def children(self) -> dict[int, str]:
        return descendants(self.process.pid)

    def child(self, command: str) -> int:
        """The process whose command line has this in it."""
        (pid,) = [pid for pid, line in self.children.items() if command in line]
        return pid

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to the launcher's process group, as a terminal does; the exit code.

        AssertionError when anything that it started is still there afterwards.
        """
        family = self.children
        os.killpg(self.process.pid, number)
        code = self.process.wait(30)
        assert not family.keys() & processes().keys()
        assert "Traceback" not in self.output
        return code

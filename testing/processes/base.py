"""What all processes of the tests share: a port of their own, and an end that is certain."""

import atexit
import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import IO, NamedTuple, Self

from testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
# Below those that systems give to outgoing connections: one of these would else get a port whose
# server is restarting.
PORTS = range(12_000, 32_000)

_running: set["subprocess.Popen[bytes]"] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment.

    It is a random one, since other runs of the tests look for ports at the same time.
    """
    while True:
        port = SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Host(NamedTuple):
    """A machine that processes run on: its address, and what their commands begin with there."""

    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


LOCALHOST = Host()


class Process(ABC):
    """A process in a session of its own, that is gone when its `with` block or pytest ends."""

    def __init__(self, host: Host = LOCALHOST) -> None:
        self.host = host
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it on its port, which stays the same, and wait until it answers."""

    def _spawn(
        self, command: Sequence[str], env: Mapping[str, str], output: IO[bytes] | int
    ) -> "subprocess.Popen[bytes]":
        if self.running:
            raise RuntimeError(f"{type(self).__name__} runs already")
        self._process = subprocess.Popen(
            [*self.host.prefix, *command],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(self._process)
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process (with workers: of their supervisor)."""
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} was not started")
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL it and all its children, and wait until every one of them is gone."""
        if self._process is None:
            return
        family = [self.pid, *children_of(self.pid)]
        _kill_group(self._process)
        wait_until(lambda: not any(map(_alive, family)), 10, f"{family} outlived SIGKILL")
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: its ports stay open, and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after pause()."""
        os.killpg(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted on a zombie's group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _running.discard(process)


def children_of(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(OSError):
        return [int(child) for child in listing.read_text().split()]
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


def command_line_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _alive(pid: int) -> bool:
    """Whether it still runs; one that is dead and only waits to be reaped does not."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@atexit.register
def _leave_nothing_behind() -> None:
    for process in list(_running):
        _kill_group(process)

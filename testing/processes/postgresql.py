"""A PostgreSQL of the tests' own."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg

from testing.processes.base import LOCALHOST, Host, Process, children_of
from testing.waiting import wait_until


class PostgreSQL(Process):
    """A PostgreSQL with a cluster of its own, and one empty database."""

    def __init__(self, host: Host = LOCALHOST) -> None:
        super().__init__(host)
        # Not below pytest's own directory, which the user postgres may not enter.
        self._directory = tempfile.TemporaryDirectory(prefix="postgresql-")

    @staticmethod
    def programs() -> Path | None:
        """Return where initdb and postgres are; Debian keeps them off the PATH."""
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        program = installed[-1] if installed else shutil.which("initdb")
        return Path(program).parent if program else None

    @property
    def url(self) -> str:
        """What DATABASE_URL is set to."""
        return f"postgres://postgres@{self.host.address}:{self.port}/postgres"

    def start(self) -> None:
        """Make the cluster, if this is the first time, and wait until it answers."""
        programs = self.programs()
        assert programs, "PostgreSQL is not installed"
        data = Path(self._directory.name, "data")
        # It refuses to be root.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(self._directory.name, "postgres")
        make: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ]
        if not data.exists():
            subprocess.run([*as_user, *make], check=True, stdout=subprocess.DEVNULL, cwd="/")
            with (data / "pg_hba.conf").open("a") as access:
                access.write("host all all 0.0.0.0/0 trust\n")
        options = ["-p", str(self.port), "-k", "", "-c", "fsync=off"]
        serve = [programs / "postgres", "-D", data, "-h", self.host.address, *options]
        command = [*as_user, *map(str, serve)]
        process = self._spawn(command, os.environ, subprocess.DEVNULL)

        def answers() -> bool:
            nonlocal process
            if process.poll() is not None:
                # Just after a kill it refuses to start: the shared memory is still in use.
                process = self._spawn(command, os.environ, subprocess.DEVNULL)
            return self._answers()

        wait_until(answers, 30, "PostgreSQL does not answer")

    def pause(self) -> None:
        """SIGSTOP it and all that serve a connection, each of which leads a group of its own."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after pause()."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        family = [self.pid]
        for pid in family:  # which grows meanwhile; a process that is stopped has no new children
            with suppress(ProcessLookupError):  # a connection that has ended since
                os.kill(pid, number)
            family += children_of(pid)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

"""A Memcached of the tests' own."""

import os
import shutil
import socket
import subprocess
from contextlib import suppress

from testing.processes.base import Process
from testing.waiting import wait_until


class Memcached(Process):
    """A Memcached of its own, 64 MB."""

    @staticmethod
    def available() -> bool:
        """Whether this machine has a memcached to run."""
        return shutil.which("memcached") is not None

    @property
    def location(self) -> str:
        """What CACHE_LOCATION is set to."""
        return f"{self.host.address}:{self.port}"

    def start(self) -> None:
        """Start it, empty, on its port, which stays the same, and wait until it answers."""
        command = ["memcached", "-l", self.host.address, "-p", str(self.port), "-U", "0"]
        if os.getuid() == 0:
            command += ["-u", "nobody"]
        self._spawn(command, os.environ, subprocess.DEVNULL)
        try:
            wait_until(self._answers, 10, "memcached does not answer")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection((self.host.address, self.port), timeout=1) as connection,
        ):
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
        return False

"""The scripted Ollama in a process of its own."""

import os
import socket
import subprocess
import sys
from contextlib import suppress

from testing.processes.base import LOCALHOST, Host, Process
from testing.waiting import wait_until


class ScriptedModel(Process):
    """The scripted Ollama, which answers every call with `tokens` words at a fixed rate."""

    def __init__(self, interval: float, tokens: int, *options: str, host: Host = LOCALHOST) -> None:
        super().__init__(host)
        self._arguments = ["--interval", str(interval), "--tokens", str(tokens), *options]
        self.url = f"http://{host.address}:{self.port}"

    def start(self) -> None:
        """Start it; `wait()` returns when it listens."""
        where = ["--address", self.host.address, "--port", str(self.port)]
        command = [sys.executable, "-m", "testing.scripted_ollama", *where, *self._arguments]
        self._spawn(command, os.environ, subprocess.DEVNULL)

    def wait(self) -> None:
        """Wait until it listens."""
        wait_until(self._listens, 30, "the scripted Ollama does not listen")

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host.address, self.port), timeout=1):
            return True
        return False

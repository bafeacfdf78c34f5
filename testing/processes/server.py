"""The project's server, as it runs in production."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testing.processes.base import INHERITED, LOCALHOST, Host, Process, children_of, command_line_of
from testing.waiting import wait_until


class Server(Process):
    """The project under uvicorn, with an environment that owes nothing to the developer's.

    `env` comes on top of a minimal environment and of ``LLAMA_CHATBOT_ENV_FILE=""`` (read no .env
    file); everything it and its workers write goes to `directory`/server-<port>.log.
    """

    def __init__(
        self,
        directory: Path,
        env: Mapping[str, str] | None = None,
        *,
        workers: int = 1,
        uvicorn_args: Sequence[str] = (),
        application: str = "llama_chatbot.asgi:application",
        host: Host = LOCALHOST,
    ) -> None:
        super().__init__(host)
        self.env = dict(env or {})
        self.workers = workers
        self.log_file = directory / f"server-{self.port}.log"
        self._arguments = [application, "--host", host.address, "--port", str(self.port)]
        if workers > 1:
            self._arguments += ["--workers", str(workers)]
        self._arguments += uvicorn_args

    @property
    def url(self) -> str:
        """The base of every path, without a slash at its end."""
        return f"http://{self.host.address}:{self.port}"

    def start(self, timeout: float = 30.0) -> None:
        """Start it and wait until `GET /health/live/` is 200.

        RuntimeError with the end of the log when it exits, or is not live after `timeout` seconds.
        """
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        fixed = {"LLAMA_CHATBOT_ENV_FILE": "", "PYTHONUNBUFFERED": "1"}
        with self.log_file.open("ab") as log:
            command = [sys.executable, "-m", "uvicorn", *self._arguments]
            process = self._spawn(command, inherited | fixed | self.env, log)
        try:
            wait_until(
                lambda: process.poll() is not None or self._is_live(), timeout, "it is not live"
            )
            if process.poll() is not None:
                raise AssertionError(f"it exited with {process.returncode}")
        except BaseException as error:
            self.kill()
            if isinstance(error, AssertionError):
                raise RuntimeError(f"the server: {error}\n{self.log()[-4000:]}") from None
            raise

    def _is_live(self) -> bool:
        connection = http.client.HTTPConnection(self.host.address, self.port, timeout=1)
        try:
            connection.request("GET", "/health/live/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def takes_connections(self) -> bool:
        """Whether its port is open."""
        try:
            socket.create_connection((self.host.address, self.port), timeout=10).close()
        except ConnectionRefusedError:
            return False
        return True

    def terminate(self, timeout: float = 30.0) -> int:
        """SIGTERM, as a service manager sends it; the exit code (negative: the signal it died of).

        RuntimeError with the end of the log when it still runs after `timeout` seconds.
        """
        if self._process is None:
            raise RuntimeError("the server was not started")
        self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the server ignores SIGTERM\n{self.log()[-4000:]}") from None
        finally:
            self.kill()

    def worker_pids(self) -> list[int]:
        """The ids of the worker processes; empty without `workers`."""
        return [pid for pid in children_of(self.pid) if "spawn_main" in command_line_of(pid)]

    def log(self) -> str:
        """All that it wrote so far, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


StartServer = Callable[..., Server]
"""The fixture `start_server`: start a server with settings of its own."""

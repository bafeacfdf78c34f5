"""Real processes for tests and benchmarks: Memcached, and the server as it runs in production."""

import atexit
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import psycopg

ROOT = Path(__file__).resolve().parents[1]
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

_running: set["subprocess.Popen[bytes]"] = set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], object],
    timeout: float = 5.0,
    message: str | Callable[[], str] = "the condition never held",
) -> None:
    """Poll every 10 ms until the condition holds; AssertionError after `timeout` seconds.

    A message that should tell the last state is a function. It blocks: a coroutine calls
    ``await asyncio.to_thread(wait_until, ...)``.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"after {timeout:g} s: {text}")
        time.sleep(0.01)


class _Process(ABC):
    """A process in a session of its own, that is gone when its `with` block or pytest ends."""

    def __init__(self) -> None:
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
            command,
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
        family = [self.pid, *_children(self.pid)]
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


class Memcached(_Process):
    """A Memcached of its own, on 127.0.0.1, 64 MB."""

    @staticmethod
    def available() -> bool:
        """Whether this machine has a memcached to run."""
        return shutil.which("memcached") is not None

    @property
    def location(self) -> str:
        """What CACHE_LOCATION is set to."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, on its port, which stays the same, and wait until it answers."""
        command = ["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
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
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
        ):
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
        return False


class PostgreSQL(_Process):
    """A PostgreSQL with a cluster of its own, and one empty database."""

    def __init__(self) -> None:
        super().__init__()
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
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

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
        options = ["-p", str(self.port), "-k", "", "-c", "fsync=off"]
        serve = [programs / "postgres", "-D", data, "-h", "127.0.0.1", *options]
        self._spawn([*as_user, *map(str, serve)], os.environ, subprocess.DEVNULL)
        wait_until(self._answers, 30, "PostgreSQL does not answer")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True


class Server(_Process):
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
    ) -> None:
        super().__init__()
        self.env = dict(env or {})
        self.workers = workers
        self.log_file = directory / f"server-{self.port}.log"
        self._arguments = [application, "--host", "127.0.0.1", "--port", str(self.port)]
        if workers > 1:
            self._arguments += ["--workers", str(workers)]
        self._arguments += uvicorn_args

    @property
    def url(self) -> str:
        """The base of every path, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/health/live/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

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
        return [pid for pid in _children(self.pid) if "spawn_main" in _command_line(pid)]

    def log(self) -> str:
        """All that it wrote so far, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted on a zombie's group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _running.discard(process)


def _children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(OSError):
        return [int(child) for child in listing.read_text().split()]
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


def _command_line(pid: int) -> str:
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

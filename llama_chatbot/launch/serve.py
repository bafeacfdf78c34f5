"""The second half of `make run`: starts and stops Memcached, the bundled model and the server.

An Ollama or a Memcached that is already running, and that the settings name, is used and left
alone. What is started here listens on localhost, and only the server knows on which port.
"""

import asyncio
import importlib
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

import httpx
from dotenv import dotenv_values

from chat.ollama import ollama
from llama_chatbot.launch import bootstrap
from llama_chatbot.launch.bootstrap import ROOT, print_now

BUNDLED_MODEL = "smollm2:135m"
HTTP_PROBE = b"GET /health/live/ HTTP/1.0\r\n\r\n"
STOP_SECONDS = 60  # for a process to exit; the server lets its replies finish

READY = """\
Llama Chatbot is ready on {address} with {model} and {cache}. Ctrl-C stops it. In another terminal:
  curl -H 'Content-Type: application/json' -d '{{"username":"ada","email":"ada@example.com",\
"password":"lively-llama-42"}}' {address}/auth/register/
  curl -c cookies.txt -H 'Content-Type: application/json' -d '{{"username":"ada",\
"password":"lively-llama-42"}}' {address}/auth/login/
  curl -N -b cookies.txt -H 'Content-Type: application/json' -d '{{"message":"Hello!"}}' \
{address}/chat/streaming-response/$(curl -s -b cookies.txt -X POST {address}/chat/threads/new/ \
| grep -o '[0-9][0-9]*' | head -1)/"""


class Children:
    """The child processes, each in its own process group, so Ctrl-C reaches only the parent."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._running: dict[str, Process] = {}
        self._supervisors: list[asyncio.Task[None]] = []

    async def start(self, name: str, *command: str, stdout: int | None = None) -> Process:
        """Start a process. One of the same name, which has exited, is replaced."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environment,
            cwd=ROOT,
            stdin=DEVNULL,
            stdout=stdout,
            process_group=0,
        )
        self._running[name] = process
        return process

    async def start_supervised(
        self, name: str, command: Sequence[str], port: int, probe: bytes
    ) -> asyncio.Task[bool]:
        """Start a process and restart it whenever it dies.

        The returned task waits until it first answers; its result is False where it never does.
        """
        process = await self.start(name, *command, stdout=DEVNULL)

        async def supervise(process: Process) -> None:
            while await wait_until_ready(process, port, probe):
                code = await process.wait()
                print_now(f"The {name} exited with code {code}, restarting it")
                process = await self.start(name, *command, stdout=DEVNULL)
            print_now(f"The {name} failed to start: exit code {process.returncode}")

        self._supervisors.append(asyncio.create_task(supervise(process)))
        return asyncio.create_task(wait_until_ready(process, port, probe))

    async def stop_all(self) -> None:
        """Stop all processes, the last started first; a second Ctrl-C kills them at once."""
        loop = asyncio.get_running_loop()
        for number in bootstrap.termination_signals():
            loop.add_signal_handler(number, self._signal_all, signal.SIGKILL)
        hint = loop.call_later(2, print_now, "Letting replies finish; Ctrl-C again cuts them off")
        for supervisor in self._supervisors:
            supervisor.cancel()
        for process in reversed(self._running.values()):
            self._signal(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._signal(process, signal.SIGKILL)
                await process.wait()
        hint.cancel()

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            self._signal(process, number)

    def _signal(self, process: Process, number: signal.Signals) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def free_port() -> int:
    """Return a port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_until_ready(process: Process, port: int, probe: bytes) -> bool:
    """Wait until a process answers on its port, even with an error; False if it exits instead.

    An open port is not enough: the bundled model listens while it is still loading.
    """
    while process.returncode is None:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(probe)
                if await reader.read(1):
                    return True
            finally:
                writer.close()
        await asyncio.sleep(0.05)
    return False


def list_models(host: str) -> list[str] | None:
    """Return the models of the Ollama at this address; None if none answers."""
    try:
        # With its own transport it ignores proxy settings, as the server's client does.
        answer = ollama.Client(host, timeout=3, transport=httpx.HTTPTransport()).list()
    except (ConnectionError, ValueError, ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL):
        return None
    return [model.model for model in answer.models if model.model]


async def use_model(
    children: Children, settings: Mapping[str, str]
) -> tuple[str, asyncio.Task[bool] | None]:
    """Use the Ollama that answers, or else start the bundled model.

    Return a description of the model, and the task that waits for the bundled one to load.
    """
    host = settings.get("OLLAMA_HOST") or "http://127.0.0.1:11434"
    name = settings.get("OLLAMA_MODEL") or "llama3.2"
    answers = [await asyncio.to_thread(list_models, each.strip()) for each in host.split(",")]
    if any(answer is not None for answer in answers):
        models = [model for answer in answers for model in answer or ()]
        if name not in models and f"{name}:latest" not in models:
            print_now(
                f"Ollama at {host} has no {name} yet. To get it, type:"
                f" .venv/bin/python manage.py pullmodel {name}"
            )
        return f"{name} from {host}", None
    print_now(f"No Ollama answers at {host}: using the small bundled model")
    install = await children.start("installation", sys.executable, bootstrap.__file__, "model")
    if await install.wait():
        print_now("Going on without a model: chats get an error until an Ollama answers")
        return "no model", None
    port = free_port()
    children.environment["OLLAMA_HOST"] = f"http://127.0.0.1:{port}"
    children.environment["OLLAMA_MODEL"] = BUNDLED_MODEL
    command = [sys.executable, "-m", "local_model", "--port", str(port)]
    loading = await children.start_supervised("bundled model", command, port, HTTP_PROBE)
    return f"the bundled {BUNDLED_MODEL}", loading


async def use_cache(children: Children, settings: Mapping[str, str]) -> str:
    """Use the configured Memcached, or else start one if possible; return a description of it."""
    if settings.get("CACHE_BACKEND"):
        return settings["CACHE_BACKEND"]
    location = settings.get("CACHE_LOCATION")
    program = shutil.which("memcached")
    if not has_pylibmc():
        if location:
            print_now(
                "CACHE_LOCATION is set, but pylibmc is not installed: the cache is in-process"
            )
            children.environment["CACHE_LOCATION"] = ""
        return "the in-process cache"
    if location:
        return f"Memcached at {location}"
    if program is None:
        return "the in-process cache"
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]  # it refuses to run as root
    starting = await children.start_supervised("Memcached", command, port, b"version\r\n")
    if not await starting:
        return "the in-process cache"
    children.environment["CACHE_LOCATION"] = address
    return f"Memcached at {address}"


def has_pylibmc() -> bool:
    """Return whether Memcached's client can be imported, including its C library."""
    try:
        importlib.import_module("pylibmc")
    except ImportError:
        return False
    return True


async def serve(children: Children, settings: Mapping[str, str], port: int) -> int:
    """Run the server and what it needs until the server exits; return its exit code."""
    cache = await use_cache(children, settings)
    migrate = await children.start("migration", sys.executable, "manage.py", "migrate", "-v0")
    if code := await migrate.wait():  # an invalid setting ends here, with its one line
        return code
    model, loading = await use_model(children, settings)
    command = [sys.executable, "-m", "uvicorn", "llama_chatbot.asgi:application"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--log-level", "warning"]
    server = await children.start("server", *command)
    if await wait_until_ready(server, port, HTTP_PROBE):
        if loading and not await loading:
            model = "no model"
        print_now(READY.format(address=f"http://127.0.0.1:{port}", model=model, cache=cache))
    code = await server.wait()
    print_now(f"The server exited with code {code}")
    return code if code >= 0 else 128 - code


async def run(settings: Mapping[str, str], port: int) -> int:
    """Serve until the server exits or a signal arrives, then stop all; return the exit code."""
    environment = dict(os.environ)
    if "FORWARDED_ALLOW_IPS" in settings:  # uvicorn reads it, and not from the settings file
        environment["FORWARDED_ALLOW_IPS"] = settings["FORWARDED_ALLOW_IPS"]
    children = Children(environment)
    work = asyncio.create_task(serve(children, settings, port))
    for number in bootstrap.termination_signals():
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 0
    finally:
        await children.stop_all()


def main() -> int:
    """Read the settings as Django does, the environment taking precedence, and serve."""
    path = bootstrap.env_file()
    values = dotenv_values(path) if path else {}
    settings = {name: value for name, value in values.items() if value is not None} | os.environ
    return asyncio.run(run(settings, bootstrap.available_port(settings.get("PORT"))))

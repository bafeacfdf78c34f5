"""The second half of `make run`: starts Memcached, the bundled model and the server, and ends them.

An Ollama or a Memcached that the settings name and that runs already is used and left alone. What
is started here listens on this machine only, and the server alone is told where.
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
import ollama
from dotenv import dotenv_values

from llama_chatbot.launch import bootstrap
from llama_chatbot.launch.bootstrap import ROOT, say

BUNDLED_MODEL = "smollm2:135m"
HTTP_QUESTION = b"GET /health/live/ HTTP/1.0\r\n\r\n"
STOP_SECONDS = 60  # for a process to end by itself; the server lets its replies come to an end

READY = """\
Llama Chatbot is ready on {address} with {model} and {cache}. Ctrl-C ends it. In another terminal:
  curl -H 'Content-Type: application/json' -d '{{"username":"ada","email":"ada@example.com",\
"password":"lively-llama-42"}}' {address}/auth/register/
  curl -c cookies.txt -H 'Content-Type: application/json' -d '{{"username":"ada",\
"password":"lively-llama-42"}}' {address}/auth/login/
  curl -N -b cookies.txt -H 'Content-Type: application/json' -d '{{"message":"Hello!"}}' \
{address}/chat/streaming-response/$(curl -s -b cookies.txt -X POST {address}/chat/threads/new/ \
| grep -o '[0-9][0-9]*' | head -1)/"""


class Children:
    """The processes started here, each in a group of its own, so that Ctrl-C reaches only us."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self._running: dict[str, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, name: str, *command: str, stdout: int | None = None) -> Process:
        """Start a process; the name says which one it takes the place of, and the order of ends."""
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

    async def start_and_keep(
        self, name: str, command: Sequence[str], port: int, question: bytes
    ) -> asyncio.Task[bool]:
        """Start a process, and again whenever it dies; the task waits until it first answers."""
        process = await self.start(name, *command, stdout=DEVNULL)

        async def keep(process: Process) -> None:
            while await answers(process, port, question):
                code = await process.wait()
                say(f"The {name} ended with code {code}, starting it again")
                process = await self.start(name, *command, stdout=DEVNULL)
            say(f"The {name} ended at its start, with code {process.returncode}: on without it")

        self._keepers.append(asyncio.create_task(keep(process)))
        return asyncio.create_task(answers(process, port, question))

    async def end(self) -> None:
        """End all, the last started first; a second Ctrl-C no longer waits for anything."""
        loop = asyncio.get_running_loop()
        for number in bootstrap.ending_signals():
            loop.add_signal_handler(number, self._signal_all, signal.SIGKILL)
        hint = loop.call_later(2, say, "Letting replies come to an end, Ctrl-C again cuts them off")
        for keeper in self._keepers:
            keeper.cancel()
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
    """Return a port that nothing uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answers(process: Process, port: int, question: bytes) -> bool:
    """Wait until a process answers on its port, be it with an error; False when it ended instead.

    That it listens is not enough: the bundled model does so while it still loads.
    """
    while process.returncode is None:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(question)
                if await reader.read(1):
                    return True
            finally:
                writer.close()
        await asyncio.sleep(0.05)
    return False


def models_of(host: str) -> list[str] | None:
    """Return the models of the Ollama at this address; None when none answers there."""
    try:
        # With a transport of its own it goes through no proxy, as the server's client does not.
        answer = ollama.Client(host, timeout=3, transport=httpx.HTTPTransport()).list()
    except (ConnectionError, ValueError, ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL):
        return None
    return [model.model for model in answer.models if model.model]


async def use_model(
    children: Children, settings: Mapping[str, str]
) -> tuple[str, asyncio.Task[bool] | None]:
    """Use the Ollama that answers, else start the bundled model.

    Return the model in words, and for the bundled one, which loads for seconds, what waits for it.
    """
    host = settings.get("OLLAMA_HOST") or "http://127.0.0.1:11434"
    name = settings.get("OLLAMA_MODEL") or "llama3.2"
    models = await asyncio.to_thread(models_of, host)
    if models is not None:
        if name not in models and f"{name}:latest" not in models:
            say(
                f"Ollama at {host} has no {name} yet, to get it type:"
                f" .venv/bin/python manage.py pullmodel {name}"
            )
        return f"{name} from {host}", None
    say(f"No Ollama answers at {host}: using the bundled model, a small one")
    install = await children.start("installation", sys.executable, bootstrap.__file__, "model")
    if await install.wait():
        say("On without a model: until an Ollama is there, chats are answered with an error")
        return "no model", None
    port = free_port()
    children.environment["OLLAMA_HOST"] = f"http://127.0.0.1:{port}"
    children.environment["OLLAMA_MODEL"] = BUNDLED_MODEL
    command = [sys.executable, "-m", "local_model", "--port", str(port)]
    loading = await children.start_and_keep("bundled model", command, port, HTTP_QUESTION)
    return f"the bundled {BUNDLED_MODEL}", loading


async def use_cache(children: Children, settings: Mapping[str, str]) -> str:
    """Use the Memcached that is set, else start one where it can be; return the cache in words."""
    if settings.get("CACHE_BACKEND"):
        return settings["CACHE_BACKEND"]
    location = settings.get("CACHE_LOCATION")
    program = shutil.which("memcached")
    if not has_pylibmc():
        if location:
            say("CACHE_LOCATION is set, but pylibmc is not installed: the cache is in-process")
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
        command += ["-u", "nobody"]  # it refuses to be root
    starting = await children.start_and_keep("Memcached", command, port, b"version\r\n")
    if not await starting:
        return "the in-process cache"
    children.environment["CACHE_LOCATION"] = address
    return f"Memcached at {address}"


def has_pylibmc() -> bool:
    """Tell whether Memcached's client can be imported, its C library included."""
    try:
        importlib.import_module("pylibmc")
    except ImportError:
        return False
    return True


async def serve(children: Children, settings: Mapping[str, str], port: int) -> int:
    """Run the server, with what it needs beside it, until it ends; return its exit code."""
    cache = await use_cache(children, settings)
    migrate = await children.start("migration", sys.executable, "manage.py", "migrate", "-v0")
    if code := await migrate.wait():  # settings that cannot be used end here, with their line
        return code
    model, loading = await use_model(children, settings)
    command = [sys.executable, "-m", "uvicorn", "llama_chatbot.asgi:application"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--log-level", "warning"]
    server = await children.start("server", *command)
    if await answers(server, port, HTTP_QUESTION):
        if loading and not await loading:
            model = "no model"
        say(READY.format(address=f"http://127.0.0.1:{port}", model=model, cache=cache))
    code = await server.wait()
    say(f"The server ended with code {code}")
    return code if code >= 0 else 128 - code


async def run(settings: Mapping[str, str], port: int) -> int:
    """Serve until the server ends or a signal comes, then end all; return the exit code."""
    environment = dict(os.environ)
    if "FORWARDED_ALLOW_IPS" in settings:  # uvicorn's own, it does not read the settings file
        environment["FORWARDED_ALLOW_IPS"] = settings["FORWARDED_ALLOW_IPS"]
    children = Children(environment)
    work = asyncio.create_task(serve(children, settings, port))
    for number in bootstrap.ending_signals():
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 0
    finally:
        await children.end()


def main() -> int:
    """Read the settings as Django does, the environment before the file, and serve."""
    path = bootstrap.env_file()
    values = dotenv_values(path) if path else {}
    settings = {name: value for name, value in values.items() if value is not None} | os.environ
    return asyncio.run(run(settings, bootstrap.usable_port(settings.get("PORT"))))

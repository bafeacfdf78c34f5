"""The scripted Ollama's server: its life, and what a test steers and waits for."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from testing.scripted_ollama.answering import Answering
from testing.scripted_ollama.catalogue import Catalogue
from testing.scripted_ollama.loading import Loader, Loading
from testing.scripted_ollama.player import Awake
from testing.scripted_ollama.script import ChatSeen, Ending, ModelInfo, Script, echo
from testing.waiting import wait_until


class ScriptedOllama:
    """The server. What a test sets may be changed at any time and holds for the next request.

    - `models`: what it has, by full name; `pull_error`: why a pull fails, if it does.
    - `script`: the answer to every chat, or a function of the request's body that returns it;
      `scripts`: answers that are used before it, one a call, in order of arrival.
    - `hang_everything`: accept connections and answer nothing more on any of them, until unset.
    - `loading`: how long loading a model takes, how many calls may wait for it, what was loaded.
    - `renders`: whether it knows "_debug_render_only", as Ollama does since the end of 2025;
      `renders_seen`: the bodies of those calls.
    - `chats`: the calls seen that had a model write; `open`: how many are being served.
    """

    def __init__(
        self, port: int = 0, *, address: str = "127.0.0.1", benchmark: bool = False
    ) -> None:
        self.address = address
        self.port = port  # 0: the first start picks a free one, later starts keep it
        self.models = {
            "llama3.2:latest": ModelInfo(),
            "tiny:latest": ModelInfo(context_length=2048),
            "thinker:latest": ModelInfo(capabilities=("completion", "thinking")),
        }
        self.version = "0.33.3"
        self.script: Script | Callable[[dict[str, Any]], Script] = echo
        self.scripts: deque[Script] = deque()
        self.pull_error: str | None = None
        self.loading = Loading()
        self.renders = True
        self.renders_seen: list[dict[str, Any]] = []
        self.chats: list[ChatSeen] = []
        self.open = 0
        self.is_benchmark = benchmark  # no `chats`, no holds, no thinking, and little CPU a token
        self._hanging = False  # before the start, and the next one
        self._thread: threading.Thread | None = None

    # The server's life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What OLLAMA_HOST is set to."""
        return f"http://{self.address}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._thread is not None

    def start(self) -> None:
        """Listen, on the same port as before if there was one. OSError when it is taken."""
        if self._thread is not None:
            raise RuntimeError("the scripted Ollama runs already")
        ready: Future[None] = Future()

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(self.serve(ready))
            except OSError as error:
                ready.set_exception(error)

        thread = threading.Thread(target=run, name="scripted-ollama", daemon=True)
        thread.start()
        ready.result(timeout=10)
        self._thread = thread

    def stop(self) -> None:
        """Close the port and every connection at once, as the death of the process would."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)
            self._thread = None

    async def serve(self, ready: "Future[None]") -> None:
        """Serve in the running loop until stopped; `ready` is done once it listens."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.awake = Awake()
        self.awake.set_hanging(self._hanging)
        self.loader = Loader(self.loading)
        runner = web.AppRunner(self._application(), handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.address, self.port, backlog=4096)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set_result(None)
            await self._stop.wait()
            await site.stop()
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        @web.middleware
        async def hang(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self.awake.wait()
            return await handler(request)

        app = web.Application(middlewares=[hang], client_max_size=64 * 1024**2)
        Catalogue(self).add_to(app)
        Answering(self).add_to(app)
        return app

    # What a test steers and waits for

    @property
    def hang_everything(self) -> bool:
        """Whether nothing is answered at all, as by a stopped process."""
        return self._hanging

    @hang_everything.setter
    def hang_everything(self, hanging: bool) -> None:
        async def change() -> None:
            self.awake.set_hanging(hanging)

        self._hanging = hanging
        if self._thread is not None:  # and wait for it: not one token more after this statement
            asyncio.run_coroutine_threadsafe(change(), self._loop).result(timeout=5)

    def reset(self) -> None:
        """Be as at first again, once nothing is being served; what was seen is forgotten."""
        self.hang_everything = False
        if not self.is_running:
            self.start()
        self.release()
        self.wait_for_open(0, timeout=10)
        fresh = ScriptedOllama()
        for name in (
            "models",
            "version",
            "script",
            "scripts",
            "pull_error",
            "renders",
            "renders_seen",
            "chats",
        ):
            setattr(self, name, getattr(fresh, name))
        vars(self.loading).update(vars(fresh.loading))
        self.loader.runners.clear()

    def release(self, *chats: ChatSeen) -> None:
        """Let these chats (default: all that are open now) pass their hold, reached or not."""
        for chat in chats or self.chats:
            if chat.ended is None:
                self._loop.call_soon_threadsafe(chat.gate.set)

    def wait_for_open(self, count: int, timeout: float = 5.0) -> None:
        """Wait until `count` chats are being served; AssertionError when they never are."""
        wait_until(
            lambda: self.open == count,
            timeout,
            lambda: f"{self.open} chats are open, not {count}; seen: {self.chats}",
        )

    # For the handlers

    @asynccontextmanager
    async def serving(self, chat: ChatSeen) -> AsyncIterator[None]:
        """Note a call while it is being served, and how it ends where nothing else says it."""
        self.open += 1
        if not self.is_benchmark:
            self.chats.append(chat)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.end(chat, "stopped" if self._stop.is_set() else "disconnect")
            raise
        finally:
            self.end(chat, "crash")

    def end(self, chat: ChatSeen, how: Ending) -> None:
        """Note how a call ended; only the first word counts, and is said before the last byte."""
        if chat.ended is None:
            chat.ended_by = how
            chat.ended = time.monotonic()
            self.open -= 1

"""The scripted Ollama's server: its life, what a test steers, and the routes."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from testing.scripted_ollama import wire
from testing.scripted_ollama.player import Awake, Player
from testing.scripted_ollama.script import ChatSeen, Ending, ModelInfo, Script, echo
from testing.scripted_ollama.wire import full_name
from testing.waiting import wait_until

DEFAULT_NUM_CTX = 4096  # tokens; Ollama's own, on a machine without a big GPU


class ScriptedOllama:
    """The server. What a test sets may be changed at any time and holds for the next request.

    - `models`: what it has, by full name; `pull_error`: why a pull fails, if it does.
    - `script`: the answer to every chat, or a function of the request's body that returns it;
      `scripts`: answers that are used before it, one a chat, in order of arrival.
    - `hang_everything`: accept connections and answer nothing more on any of them, until unset.
    - `chats`: the chat requests seen; `open`: how many of them are being served.
    """

    def __init__(self, port: int = 0, *, benchmark: bool = False) -> None:
        self.port = port  # 0: the first start picks a free one, later starts keep it
        self.models = {
            "llama3.2:latest": ModelInfo(),
            "tiny:latest": ModelInfo(context_length=2048),
            "thinker:latest": ModelInfo(capabilities=("completion", "thinking")),
        }
        self.pull_error: str | None = None
        self.script: Script | Callable[[dict[str, Any]], Script] = echo
        self.scripts: deque[Script] = deque()
        self.chats: list[ChatSeen] = []
        self.open = 0
        self._benchmark = benchmark  # no `chats`, no holds, no thinking, and little CPU a token
        self._hanging = False  # before the start, and the next one
        self._loaded: dict[str, int] = {}
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
        return f"http://127.0.0.1:{self.port}"

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
        self._awake = Awake()
        self._awake.set_hanging(self._hanging)
        self._loaded.clear()
        runner = web.AppRunner(self._application(), handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096)
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
            await self._awake.wait()
            return await handler(request)

        app = web.Application(middlewares=[hang], client_max_size=64 * 1024**2)
        app.router.add_get("/", self._root)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_post("/api/chat", self._chat)
        return app

    # What a test steers and waits for

    @property
    def hang_everything(self) -> bool:
        """Whether nothing is answered at all, as by a stopped process."""
        return self._hanging

    @hang_everything.setter
    def hang_everything(self, hanging: bool) -> None:
        async def change() -> None:
            self._awake.set_hanging(hanging)

        self._hanging = hanging
        if self._thread is not None:  # and wait for it: not one token more after this statement
            asyncio.run_coroutine_threadsafe(change(), self._loop).result(timeout=5)

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

    # Everything but the chat

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.0"})

    async def _tags(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [wire.entry(*item) for item in self.models.items()]})

    async def _ps(self, request: web.Request) -> web.Response:
        expires_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        loaded = [
            wire.entry(name, self.models[name])
            | {"expires_at": expires_at, "size_vram": 0, "context_length": num_ctx}
            for name, num_ctx in self._loaded.items()
            if name in self.models
        ]
        return web.json_response({"models": loaded})

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body.get("model") or body.get("name") or ""
        model = self.models.get(full_name(name))
        if model is None:
            return wire.missing(name)
        return web.json_response(
            {
                "modelfile": f"FROM {name}",
                "parameters": 'stop "<|eot_id|>"',
                "template": "{{ .Prompt }}",
                "details": model.details(),
                "model_info": {
                    "general.architecture": model.architecture,
                    "general.parameter_count": 3_212_749_888,
                    f"{model.architecture}.context_length": model.context_length,
                },
                "capabilities": list(model.capabilities),
                "modified_at": wire.MODIFIED_AT,
            }
        )

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = full_name(body.get("model") or body.get("name") or "")
        model = self.models.get(name, ModelInfo())
        digest = wire.entry(name, model)["digest"]
        layer = {"status": f"pulling {digest[:12]}", "digest": digest, "total": model.size}
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if self.pull_error is None:
            steps += [layer | {"completed": model.size * tenth // 10} for tenth in range(11)]
            steps += [{"status": "verifying sha256 digest"}, {"status": "writing manifest"}]
            steps += [{"status": "success"}]
            self.models.setdefault(name, model)
        else:
            steps += [{"error": self.pull_error}]
        if body.get("stream") is False:
            return web.json_response(steps[-1], status=200 if self.pull_error is None else 500)
        response = await wire.start_ndjson(request)
        for step in steps:
            await response.write(f"{wire.to_json(step)}\n".encode())
        return response

    # The chat

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError as error:
            return wire.error(400, str(error))
        chat = ChatSeen(body, request.headers)
        self.open += 1
        if not self._benchmark:
            self.chats.append(chat)
        try:
            return await self._answer(request, chat)
        except (asyncio.CancelledError, ConnectionError):
            self._end(chat, "stopped" if self._stop.is_set() else "disconnect")
            raise
        finally:
            self._end(chat, "crash")

    def _end(self, chat: ChatSeen, how: Ending) -> None:
        """Note how a chat ended; only the first word counts, and is said before the last byte."""
        if chat.ended is None:
            chat.ended_by = how
            chat.ended = time.monotonic()
            self.open -= 1

    async def _answer(self, request: web.Request, chat: ChatSeen) -> web.StreamResponse:
        name = str(chat.body.get("model") or "")
        model = self.models.get(full_name(name))
        if model is None or (refusal := model.refusal(name, chat.body)):
            self._end(chat, "refused")
            return wire.missing(name) if model is None else wire.error(400, refusal)
        window = min(chat.options.get("num_ctx") or DEFAULT_NUM_CTX, model.context_length)
        self._loaded[full_name(name)] = window
        if not chat.messages:
            self._end(chat, "complete")
            return web.json_response(wire.record(name, done=True, done_reason="load"))
        script = self.scripts.popleft() if self.scripts else self.script
        if callable(script):
            script = script(chat.body)
        if "thinking" not in model.capabilities or chat.body.get("think") is False:
            script = replace(script, thinking=())
        if script.prompt_tokens is None:
            script = replace(script, prompt_tokens=min(chat.prompt_tokens, window))
        await asyncio.sleep(script.first_token_after)
        await self._awake.wait()
        if script.status >= 400:
            self._end(chat, "script")
            return wire.error(script.status, script.error)

        player, began = Player(request, chat, script, self._awake), self._loop.time()
        if self._benchmark and chat.streams:
            await player.send_tokens_cheaply()
        else:
            await player.send_tokens()
        if script.then in ("die", "reset"):
            self._end(chat, "script")
        await player.break_off()
        self._end(chat, player.ending)
        return await player.send_end(began)

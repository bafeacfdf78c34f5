"""A scripted Ollama: real HTTP and Ollama's wire format, answers and failures as a test wants them.

In a test it runs in a thread of the test process::

    with ScriptedOllama() as ollama:
        ollama.script = Script(["Hel", "lo"], then="die")
        ...                                    # talk to ollama.url
        assert ollama.chats[0].ended_by == "script"

For benchmarks it is its own process, answering every chat at a fixed rate::

    python -m testing.scripted_ollama --port 11434 --interval 0.025 --tokens 200

The format follows Ollama's `docs/api.md` and `server/routes.go`. Like Ollama it sends a chat's
headers with its first token, not before. Waits never block the caller's event loop when they are
run as ``await asyncio.to_thread(ollama.wait_for_open, 1)``.
"""

import argparse
import asyncio
import hashlib
import json
import re
import resource
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from testing.processes import wait_until

Then = Literal["done", "no_done", "error", "garbage", "die", "reset", "hang", "silence"]
Ending = Literal["complete", "script", "refused", "disconnect", "stopped", "crash"]

MODIFIED_AT = "2025-01-01T00:00:00Z"
LOAD_DURATION = 1_000_000  # nanoseconds
DEFAULT_NUM_CTX = 4096  # tokens; Ollama's own, on a machine without a big GPU

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Script:
    """One chat's answer. Times are in seconds, counts in tokens.

    `then` is what follows the last token: ``done`` (the end record), ``no_done`` (the body ends
    properly without one), ``error`` (a line with an error), ``garbage`` (a line that is not JSON),
    ``die`` (the connection closes in the middle, as when the process is killed), ``reset`` (the
    same with a TCP reset), ``hang`` (headers, the tokens and then nothing), ``silence`` (not even
    headers). "Dies after two tokens" is a script of two tokens.
    """

    tokens: Sequence[str] = ()
    then: Then = "done"
    thinking: Sequence[str] = ()  # sent first, unless the request says "think": false
    first_token_after: float = 0.0
    interval: float = 0.0
    hold_after: int | None = None  # content tokens to send before waiting for release()
    status: int = 200  # from 400 up: an HTTP error with `error`, and no tokens
    error: str = "an error was encountered while running the model"
    done_reason: str = "stop"
    prompt_tokens: int | None = None  # default: count_tokens() of the messages, cut to num_ctx
    completion_tokens: int | None = None  # default: len(thinking) + len(tokens)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the scripted Ollama has; "thinking" among the capabilities lets it think."""

    context_length: int = 8192
    capabilities: tuple[str, ...] = ("completion",)
    architecture: str = "llama"
    size: int = 2_019_393_189

    def refusal(self, name: str, body: Mapping[str, Any]) -> str:
        """Why it does not answer this chat, or nothing."""
        if "completion" not in self.capabilities:
            return f'"{name}" does not support chat'
        if body.get("think") and "thinking" not in self.capabilities:
            return f'"{name}" does not support thinking'
        return ""

    def details(self) -> dict[str, Any]:
        """The `details` of /api/tags, /api/show and /api/ps."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.architecture,
            "families": [self.architecture],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }


@dataclass(eq=False)
class ChatSeen:
    """A chat request as the scripted Ollama saw it; times are of `time.monotonic()`."""

    body: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    ended_by: Ending | None = None
    tokens_sent: int = 0  # content tokens
    held: bool = False  # waiting for release()
    gate: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        return list(self.body.get("messages") or [])

    @property
    def options(self) -> dict[str, Any]:
        """The options of the request, empty when it had none."""
        return dict(self.body.get("options") or {})

    @property
    def prompt_tokens(self) -> int:
        """What the messages count, before Ollama would cut them to the context window."""
        return count_tokens(self.messages)


def count_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The scripted tokenizer: words and punctuation marks, and 4 a message."""
    return sum(4 + len(re.findall(r"\w+|[^\w\s]", m.get("content") or "")) for m in messages)


def tokens_of(text: str) -> list[str]:
    """A text in word-sized tokens that give it back when joined."""
    return re.findall(r"\s*\S+|\s+$", text)


def echo(body: Mapping[str, Any]) -> Script:
    """The default answer: "You said: <last user message>"."""
    said = [m.get("content") or "" for m in body.get("messages") or [] if m.get("role") == "user"]
    return Script(tokens_of(f"You said: {said[-1] if said else ''}"))


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
        self._hanging = False
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
        self._awake = asyncio.Event()
        if not self._hanging:
            self._awake.set()
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
            self._hanging = hanging
            (self._awake.clear if hanging else self._awake.set)()

        if self._thread is None:
            self._hanging = hanging
        else:  # and wait for it: not one token more after this statement
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
        return web.json_response({"models": [_entry(*item) for item in self.models.items()]})

    async def _ps(self, request: web.Request) -> web.Response:
        expires_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        loaded = [
            _entry(name, self.models[name])
            | {"expires_at": expires_at, "size_vram": 0, "context_length": num_ctx}
            for name, num_ctx in self._loaded.items()
            if name in self.models
        ]
        return web.json_response({"models": loaded})

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body.get("model") or body.get("name") or ""
        model = self.models.get(_full_name(name))
        if model is None:
            return _missing(name)
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
                "modified_at": MODIFIED_AT,
            }
        )

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = _full_name(body.get("model") or body.get("name") or "")
        model = self.models.get(name, ModelInfo())
        digest = _entry(name, model)["digest"]
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
        response = await _ndjson(request)
        for step in steps:
            await response.write(f"{_json(step)}\n".encode())
        return response

    # The chat

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError as error:
            return _error(400, str(error))
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
        model = self.models.get(_full_name(name))
        if model is None or (refusal := model.refusal(name, chat.body)):
            self._end(chat, "refused")
            return _missing(name) if model is None else _error(400, refusal)
        window = min(chat.options.get("num_ctx") or DEFAULT_NUM_CTX, model.context_length)
        self._loaded[_full_name(name)] = window
        if not chat.messages:
            self._end(chat, "complete")
            return web.json_response(_record(name, done=True, done_reason="load"))
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
            return _error(script.status, script.error)
        return await self._play(request, chat, script)

    async def _play(
        self, request: web.Request, chat: ChatSeen, script: Script
    ) -> web.StreamResponse:
        """Send the tokens at their times (all in one piece when not streamed), then the end."""
        streams = chat.body.get("stream") is not False
        response: web.StreamResponse | None = None
        begin = f'{{"model":{_json(chat.body["model"])},"created_at":"{_now()}",'
        begin += '"message":{"role":"assistant","content":'
        first, hold_at = len(script.thinking), script.hold_after
        began = due = self._loop.time()
        steps = [*script.thinking, *script.tokens]
        if self._benchmark and streams:
            response = await _ndjson(request)
            lines = {token: f'{begin}{_json(token)}}},"done":false}}\n' for token in set(steps)}
            chunks = {token: _chunk(line.encode()) for token, line in lines.items()}
            await self._pace(request, [chunks[token] for token in steps], script.interval)
            steps = []
        for index, token in enumerate(steps):
            if index - first == hold_at:
                await self._hold(chat)
                due = self._loop.time()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if self._hanging:  # spares a call per token
                await self._awake.wait()
            due += script.interval
            if index < first:
                line = f'{begin}"","thinking":{_json(token)}}},"done":false}}\n'
            else:
                line = f'{begin}{_json(token)}}},"done":false}}\n'
                chat.tokens_sent += 1
            if streams:
                response = response or await _ndjson(request)
                await response.write(line.encode("utf-8", "backslashreplace"))  # as JSON escapes
        if hold_at == len(script.tokens):
            await self._hold(chat)
        await self._awake.wait()

        if script.then in ("hang", "die", "reset") and streams:
            response = response or await _ndjson(request)
        if script.then in ("die", "reset"):
            self._end(chat, "script")
            _cut(request, reset=script.then == "reset")
        if script.then in ("hang", "silence", "die", "reset"):
            await asyncio.Event().wait()  # until the connection's end cancels this

        self._end(chat, "complete" if script.then == "done" else "script")
        if script.then == "error" and not streams:
            return _error(500, script.error)
        text = _last_line(chat, script, began, self._loop.time())
        if not streams:
            return web.Response(text=text, content_type="application/json")
        response = response or await _ndjson(request)
        await response.write(text.encode())
        return response

    async def _pace(self, request: web.Request, chunks: list[bytes], interval: float) -> None:
        """Write the chunks, due `interval` seconds apart, by timers alone: no task step a token."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        sent = 0
        started = self._loop.time()
        finished = self._loop.create_future()

        def tick() -> None:
            nonlocal sent
            if finished.done():
                return  # cancelled: the reader left
            if sent == len(chunks):
                finished.set_result(None)
                return
            transport.write(chunks[sent])
            sent += 1
            self._loop.call_at(started + min(sent, len(chunks) - 1) * interval, tick)

        tick()
        await finished

    async def _hold(self, chat: ChatSeen) -> None:
        chat.held = True
        await chat.gate.wait()
        chat.held = False


# The wire format


def _full_name(name: str) -> str:
    return name if not name or ":" in name else f"{name}:latest"


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _missing(name: str) -> web.Response:
    if not name:
        return _error(400, "model is required")
    return _error(404, f"model '{name}' not found")


async def _ndjson(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    return response


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _entry(name: str, model: ModelInfo) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": MODIFIED_AT,
        "size": model.size,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": model.details(),
    }


def _record(model: str, content: str = "", thinking: str = "", **rest: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    if thinking:
        message["thinking"] = thinking
    return {"model": model, "created_at": _now(), "message": message, "done": False} | rest


def _last_line(chat: ChatSeen, script: Script, began: float, ended: float) -> str:
    """What follows the tokens; without streaming it is the whole answer. Times in seconds."""
    streams = chat.body.get("stream") is not False
    if script.then == "error":
        return f"{_json({'error': script.error})}\n"
    if script.then == "garbage":
        return "<html>Bad Gateway</html>\n"
    if script.then == "no_done" and streams:
        return ""
    texts = () if streams else ("".join(script.tokens), "".join(script.thinking))
    if script.then == "no_done":
        return f"{_json(_record(chat.body['model'], *texts))}\n"
    counted = len(script.thinking) + len(script.tokens)
    total = int((time.monotonic() - chat.started) * 1e9)
    writing = int((ended - began) * 1e9)
    record = _record(
        chat.body["model"],
        *texts,
        done=True,
        done_reason=script.done_reason,
        total_duration=total,
        load_duration=LOAD_DURATION,
        prompt_eval_count=script.prompt_tokens,
        prompt_eval_duration=max(0, total - writing - LOAD_DURATION),
        eval_count=counted if script.completion_tokens is None else script.completion_tokens,
        eval_duration=writing,
    )
    return f"{_json(record)}\n"


def _cut(request: web.Request, *, reset: bool) -> None:
    """Close the connection under the answer: as the kernel does for a dead process, or by RST."""
    if request.transport is not None:
        if reset:
            linger_none = struct.pack("ii", 1, 0)
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        request.transport.abort()


# The process for benchmarks


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> None:
    """Answer every chat with the same tokens at a fixed rate until a signal comes."""
    parser = argparse.ArgumentParser(description="A scripted Ollama that answers at a fixed rate.")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--interval", type=float, default=0.025, help="seconds between tokens")
    parser.add_argument("--tokens", type=int, default=200, help="tokens in an answer")
    args = parser.parse_args()
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # where less is allowed, it does with less
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, 10_240), most_files))

    ollama = ScriptedOllama(args.port, benchmark=True)
    ollama.models["bench:latest"] = ModelInfo(context_length=131_072)
    ollama.script = Script(("word ",) * args.tokens, interval=args.interval)
    ready: Future[None] = Future()
    ready.add_done_callback(lambda _: print(f"scripted Ollama on {ollama.url}", flush=True))
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(ollama.serve(ready))


if __name__ == "__main__":
    main()

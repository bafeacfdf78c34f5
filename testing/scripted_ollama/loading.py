"""Loading: a model is loaded for certain options, and loaded anew for others, as Ollama does it.

A call whose options are the loaded ones runs at once. One with others waits in a queue of calls,
one of which is served at a time: it waits for the model's running calls, then for the load. So
calls that need no load overtake it, as they do with Ollama.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

# Ollama's `Runner` options. `shift` is a field of the call that it loads by, too.
LOAD_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
SLOTS = 4
DEFAULT_NUM_CTX = 4096  # tokens; Ollama's own, on a machine without a big GPU


class Busy(Exception):
    """More calls wait for a load than the queue may hold."""


@dataclass(eq=False)
class Runner:
    """A loaded model: its options, its running calls, and the prompts in its cache."""

    options: dict[str, Any]
    running: int = 0
    cache: list[list[str]] = field(default_factory=list)  # the least recently used first

    @property
    def window(self) -> int:
        """The tokens of prompt and reply."""
        return int(self.options["num_ctx"])

    def read(self, prompt: Sequence[str]) -> int:
        """Put a prompt into the cache; return how many of its tokens were there before."""
        if not self.cache:
            self.cache.append(list(prompt))
            return 0
        best = max(self.cache, key=lambda held: common(held, prompt))
        known = min(common(best, prompt), len(prompt) - 1)
        if known > len(best) // 2 or len(self.cache) == SLOTS:
            self.cache.remove(best if known > len(best) // 2 else self.cache[0])
        self.cache.append(list(prompt))
        return known

    def write(self, prompt: Sequence[str], reply: Sequence[str]) -> None:
        """Add a reply to its prompt in the cache."""
        for held in self.cache:
            if held == list(prompt):
                held += reply


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many tokens two prompts have in common, from the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@dataclass
class Loading:
    """What a test sets and reads of loading; it outlives the server.

    `max_queue` is how many calls may wait for a load behind the one that is being served.
    """

    seconds: float = 0.0
    max_queue: int = 512
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Loader:
    """The loaded models, and the calls that wait for a load. Belongs to one event loop."""

    def __init__(self, loading: Loading) -> None:
        self.runners: dict[str, Runner] = {}
        self._loading = loading
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._call_ended = asyncio.Event()

    async def acquire(self, name: str, context_length: int, body: Mapping[str, Any]) -> Runner:
        """Return the model's runner for a call, loaded for its options. Raises `Busy`."""
        given = body.get("options") or {}
        options = {key: given[key] for key in LOAD_OPTIONS if key in given}
        options["num_ctx"] = min(options.get("num_ctx") or DEFAULT_NUM_CTX, context_length)
        options["shift"] = body.get("shift") is not False
        runner = self.runners.get(name)
        if runner is None or runner.options != options:
            runner = await self._load(name, options)
        runner.running += 1
        return runner

    def release(self, runner: Runner) -> None:
        """Note that a call has ended."""
        runner.running -= 1
        self._call_ended.set()

    async def _load(self, name: str, options: dict[str, Any]) -> Runner:
        if self._waiting > self._loading.max_queue:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                runner = self.runners.get(name)
                if runner is not None and runner.options == options:
                    return runner
                while runner is not None and runner.running:
                    self._call_ended.clear()
                    await self._call_ended.wait()
                self.runners.pop(name, None)
                await asyncio.sleep(self._loading.seconds)
                self._loading.log.append((name, options))
                self.runners[name] = Runner(options)
                return self.runners[name]
        finally:
            self._waiting -= 1

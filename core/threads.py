"""Pools of threads whose use can be seen: how many are busy, and how much work waits."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Use(NamedTuple):
    """How many threads there may be and are busy, and for how many calls none is free."""

    size: int
    in_use: int
    waiting: int


class Threads(ThreadPoolExecutor):
    """A pool of up to `number` threads. Several may have one name, and count as one."""

    _all: ClassVar[list["Threads"]] = []

    def __init__(
        self, number: int, name: str, initializer: Callable[[], None] | None = None
    ) -> None:
        super().__init__(number, name, initializer)
        self.name = name
        self._number = number
        self._unfinished = 0
        self._lock = threading.Lock()
        self._all.append(self)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a thread call a function."""
        future = super().submit(fn, *args, **kwargs)
        with self._lock:
            self._unfinished += 1
        future.add_done_callback(self._finish)
        return future

    def _finish(self, future: Future[R]) -> None:
        with self._lock:
            self._unfinished -= 1

    @classmethod
    def use(cls) -> dict[str, Use]:
        """Return the use of all pools, by name."""
        found: dict[str, Use] = {}
        for threads in cls._all:
            size, in_use, waiting = found.get(threads.name, Use(0, 0, 0))
            unfinished, number = threads._unfinished, threads._number
            in_use += min(unfinished, number)
            found[threads.name] = Use(size + number, in_use, waiting + max(0, unfinished - number))
        return found

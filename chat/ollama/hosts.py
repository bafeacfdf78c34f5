"""Whether Ollama answers at all, so that calls to one that does not fail at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from chat.ollama.errors import ModelError, ModelUnavailable

DOUBTED_SECONDS = 3.0  # without an answer
FAIL_FAST_SECONDS = 3.0


class Health:
    """Whether Ollama answers at all.

    A call that gets no answer, or waits long for one, raises doubt. The next call then first makes
    `probe`, a cheap call that raises `ModelError`, and all others wait for the same probe. Where
    that fails too, calls fail at once for some seconds instead of queueing up.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]]) -> None:
        self.is_doubted = False
        self.fail_until = 0.0  # of time.monotonic()
        self.waiting: dict[object, float] = {}  # calls without an answer, and since when
        self._make_probe = probe
        self._probe: asyncio.Task[bool] | None = None

    async def check(self) -> None:
        """Raise `ModelUnavailable` if Ollama is known not to answer."""
        now = time.monotonic()
        if now < self.fail_until:
            raise ModelUnavailable
        if self.is_doubted or any(now - since > DOUBTED_SECONDS for since in self.waiting.values()):
            if self._probe is None:
                self._probe = asyncio.create_task(self._answers())
            if not await asyncio.shield(self._probe):
                raise ModelUnavailable

    async def _answers(self) -> bool:
        try:
            await self._make_probe()
        except ModelError:
            self.fail_until = time.monotonic() + FAIL_FAST_SECONDS
            return False
        else:
            self.is_doubted = False
            return True
        finally:
            self._probe = None

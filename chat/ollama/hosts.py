"""Whether Ollama and its models answer, so that calls fail at once where they would hang.

What counts is evidence: as long as any call hears from Ollama, or from a model, another call's
trouble is that call's own. Only after silence is something doubted, and a cheap call, the probe,
then decides for all that wait.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from chat.ollama.errors import ModelError, ModelTimeout, ModelUnavailable

DOUBTED_SECONDS = 3.0  # of silence while a call waits
FAIL_FAST_SECONDS = 3.0  # after a failed probe, before the next one
WATCH_SECONDS = 1.0  # between two looks at whether a host is silent
HOST_PROBES = 2  # before Ollama counts as down: each takes another connection
MODEL_PROBE_PATIENCE_SECONDS = 3.0  # for a model's probe, which goes on beyond


class Pulse:
    """When Ollama or a model was last heard, and whether it is doubted that it ever will be."""

    def __init__(self) -> None:
        self.heard_at = 0.0  # time.monotonic()
        self.is_doubted = False
        self.is_hung = False  # doubted, and the probe got no answer either
        self.probe: asyncio.Task[None] | None = None
        self.num_ctx = 0  # of a model's last call: with another, the probe would reload it

    def hear(self) -> None:
        """Note a sign of life."""
        self.heard_at = time.monotonic()
        self.is_doubted = self.is_hung = False

    def doubt(self, since: float) -> None:
        """Doubt it, unless something was heard since then."""
        self.is_doubted = self.is_doubted or self.heard_at < since


class Call:
    """One call to Ollama."""

    def __init__(self, host: Pulse, model: Pulse | None) -> None:
        self.heard_at = time.monotonic()
        # Ends it at once, where another host can go on with what it does.
        self.give_up: Callable[[], None] = lambda: None
        self._host = host
        self._model = model

    @property
    def has_model(self) -> bool:
        """Whether it has a model write."""
        return self._model is not None

    def hear(self) -> None:
        """Note that something of the answer has come."""
        self.heard_at = time.monotonic()
        self._host.hear()
        if self._model:
            self._model.hear()

    def break_off(self) -> None:
        """Note that there was no connection, or that it was lost."""
        self._host.doubt(self.heard_at)

    def time_out(self) -> None:
        """Note that nothing was heard for too long."""
        self._host.doubt(self.heard_at)
        if self._model:
            self._model.doubt(self.heard_at)


class Health:
    """The health of one Ollama and its models.

    `probe_host` and `probe_model(name, num_ctx)` are cheap calls that raise `ModelError`.

    A model's runner may hang while Ollama itself answers, so it has a probe of its own. That is
    made only after a call to the model has timed out and nothing else was heard from the model: one
    that loads, reads a long prompt, or is busy with others is silent too.
    """

    def __init__(
        self,
        probe_host: Callable[[], Awaitable[object]],
        probe_model: Callable[[str, int], Awaitable[object]],
    ) -> None:
        self._probe_host = probe_host
        self._probe_model = probe_model
        self._host = Pulse()
        self._models: dict[str, Pulse] = {}
        self._calls: set[Call] = set()
        self._fail_until = 0.0  # time.monotonic()
        self._watch: asyncio.Task[None] | None = None

    @property
    def calls_under_way(self) -> int:
        """How many calls have begun and not ended."""
        return len(self._calls)

    @property
    def is_hung(self) -> bool:
        """Whether calls are refused for now: Ollama has not even answered a probe."""
        return self._host.is_hung

    def begin(self, model: str = "", num_ctx: int = 0) -> Call:
        """Note a call that begins; one without a model does not need its runner."""
        pulse = self._models.setdefault(model, Pulse()) if model else None
        if pulse:
            pulse.num_ctx = num_ctx
        call = Call(self._host, pulse)
        self._calls.add(call)
        return call

    def end(self, call: Call) -> None:
        """Note that a call has ended, however it did."""
        self._calls.discard(call)

    @property
    def running(self) -> int:
        """How many calls there are that have a model write."""
        return sum(call.has_model for call in self._calls)

    def is_up(self, model: str) -> bool:
        """Return whether nothing is known against this host, or this model of its."""
        pulse = self._models.get(model)
        return not self._host.is_doubted and not (pulse and pulse.is_doubted)

    def revive(self) -> None:
        """Have what does not answer probed in the background, unless that was a moment ago."""
        host = self._host
        if host.is_doubted and host.probe is None and time.monotonic() >= self._fail_until:
            host.probe = asyncio.create_task(self._ask_host())
        for model, pulse in self._models.items():
            if not host.is_doubted and pulse.is_doubted and pulse.probe is None:
                pulse.probe = asyncio.create_task(self._ask_model(model, pulse))

    def watch(self) -> None:
        """Have calls end as soon as the host is found to be silent, for as long as there are any.

        Where there is no other host, they wait on: what hangs may go on.
        """
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._keep_watch(), context=contextvars.Context())

    async def _keep_watch(self) -> None:
        while self.running:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(ModelUnavailable):
                await self._check_host()
            if self._host.is_hung:
                for call in self._calls:
                    call.give_up()

    async def check(self, model: str = "") -> None:
        """Raise `ModelUnavailable` if Ollama, or this model of its, is known not to answer."""
        await self._check_host()
        pulse = self._models.get(model)
        if pulse and pulse.is_doubted:
            if pulse.probe is None:
                pulse.probe = asyncio.create_task(self._ask_model(model, pulse))
            if not pulse.is_hung:
                await asyncio.wait([pulse.probe], timeout=MODEL_PROBE_PATIENCE_SECONDS)
                pulse.is_hung = pulse.is_doubted
            if pulse.is_hung:
                raise ModelUnavailable

    async def _check_host(self) -> None:
        now, host = time.monotonic(), self._host
        if host.is_hung and now < self._fail_until:
            raise ModelUnavailable
        is_silent = now - host.heard_at > DOUBTED_SECONDS and any(
            now - call.heard_at > DOUBTED_SECONDS for call in self._calls
        )
        if host.is_doubted or is_silent:
            if host.probe is None:
                host.probe = asyncio.create_task(self._ask_host())
            await asyncio.shield(host.probe)
            if host.is_hung:
                raise ModelUnavailable

    async def _ask_host(self) -> None:
        """Have Ollama probed; whatever another call hears meanwhile counts as well."""
        host, began_at = self._host, time.monotonic()
        was_hung = host.is_hung
        try:
            for _ in range(HOST_PROBES):
                try:
                    await self._probe_host()
                except ModelError:
                    if host.heard_at > began_at:
                        return
                else:
                    host.hear()
                    if was_hung:
                        self._drop_probes_of_models()
                    return
            host.is_doubted = host.is_hung = True
            self._fail_until = time.monotonic() + FAIL_FAST_SECONDS
        finally:
            host.probe = None

    def _drop_probes_of_models(self) -> None:
        """Have hung models probed again: what was sent while Ollama hung may be lost."""
        for pulse in self._models.values():
            if pulse.probe:
                pulse.probe.cancel()

    async def _ask_model(self, model: str, pulse: Pulse) -> None:
        """Have a model probed; one that only refuses is heard as well."""
        try:
            await self._probe_model(model, pulse.num_ctx)
            pulse.hear()
        except ModelTimeout:
            pass  # the next call has it probed again
        except ModelError:
            pulse.hear()
        finally:
            pulse.probe = None

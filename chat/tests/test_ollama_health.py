"""What one call to Ollama tells the others: only that nothing is heard makes them fail at once."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pytest_django.fixtures import Settings

from chat.ollama import calls, client, hosts, placement, transport
from chat.ollama.errors import ModelTimeout, ModelUnavailable
from chat.ollama.hosts import Health
from chat.tests.in_process import until
from testing.scripted_ollama import Script, ScriptedOllama

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
OPTIONS = {"num_ctx": 8192}


class Probe:
    """A probe that counts, fails `failures` times, and waits until it may answer."""

    def __init__(self, failures: float = 0) -> None:
        self.number = 0
        self.failures = failures
        self.answer = asyncio.Event()
        self.answer.set()

    async def __call__(self, *arguments: object) -> None:
        self.number += 1
        await self.answer.wait()
        if self.number <= self.failures:
            raise ModelUnavailable


class Clock:
    """The clock of what is known of hosts, which a test puts forward instead of waiting."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hosts, "time", clock)
    return clock


@pytest_asyncio.fixture
async def health(
    ollama: ScriptedOllama, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Health]:
    """The health of the scripted Ollama, of which nothing is known yet."""
    settings.OLLAMA_HOST = ollama.url
    settings.OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS = 0.3
    monkeypatch.setattr(calls, "healths", {})
    yield calls.health_of(ollama.url)
    await transport.close()


async def generate(model: str = "llama3.2") -> str:
    pieces: list[str] = []
    await client.chat(
        placement.hosts()[0], model, MESSAGES, OPTIONS, lambda text, thinking: pieces.append(text)
    )
    return "".join(pieces)


def failing_call(health: Health) -> None:
    call = health.begin()
    call.break_off()
    health.end(call)


async def test_calls_in_doubt_share_one_probe() -> None:
    probe = Probe()
    probe.answer.clear()
    health = Health(probe, Probe())
    failing_call(health)
    checks = [asyncio.create_task(health.check()) for _ in range(10)]
    await until(lambda: probe.number)

    checks[0].cancel()  # the first one to ask may leave
    probe.answer.set()

    results = await asyncio.gather(*checks, return_exceptions=True)
    assert results[1:] == [None] * 9
    await health.check()
    assert probe.number == 1


async def test_one_lost_probe_condemns_nobody() -> None:
    probe = Probe(failures=1)
    health = Health(probe, Probe())
    failing_call(health)

    await health.check()

    assert probe.number == 2


async def test_without_an_answer_calls_fail_at_once_for_a_while(clock: Clock) -> None:
    probe = Probe(failures=math.inf)
    health = Health(probe, Probe())
    failing_call(health)
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            await health.check()
    assert probe.number == hosts.HOST_PROBES

    clock.ahead += hosts.FAIL_FAST_SECONDS
    with pytest.raises(ModelUnavailable):
        await health.check()
    assert probe.number == 2 * hosts.HOST_PROBES


async def test_a_call_that_is_answered_ends_the_failing() -> None:
    health = Health(Probe(failures=math.inf), Probe())
    failing_call(health)
    with pytest.raises(ModelUnavailable):
        await health.check()

    health.begin().hear()

    await health.check()


async def test_a_hung_call_is_its_own_trouble_while_others_are_answered(clock: Clock) -> None:
    probe = Probe(failures=math.inf)
    health = Health(probe, Probe())
    hung = health.begin("llama3.2", 8192)
    clock.ahead += 2 * hosts.DOUBTED_SECONDS
    health.begin("llama3.2", 8192).hear()

    await health.check("llama3.2")
    hung.time_out()
    await health.check("llama3.2")

    assert probe.number == 0


async def test_a_call_that_waits_while_nothing_is_heard_raises_doubt(clock: Clock) -> None:
    health = Health(Probe(failures=math.inf), Probe())
    health.begin("llama3.2", 8192)
    await health.check()
    clock.ahead += 2 * hosts.DOUBTED_SECONDS

    with pytest.raises(ModelUnavailable):
        await health.check()


async def test_ollama_is_doubted_when_it_is_down_and_no_more_when_it_is_back(
    health: Health, ollama: ScriptedOllama, clock: Clock
) -> None:
    ollama.stop()
    with pytest.raises(ModelUnavailable):
        await generate()
    with pytest.raises(ModelUnavailable):
        await health.check()

    ollama.start()
    clock.ahead += hosts.FAIL_FAST_SECONDS
    await health.check()


async def test_a_hung_runner_behind_an_ollama_that_answers_is_found_out(
    health: Health, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "MODEL_PROBE_PATIENCE_SECONDS", 0.1)
    ollama.script = Script(then="silence")
    with pytest.raises(ModelTimeout):
        await generate()
    assert await calls.version(placement.hosts()[0])

    with pytest.raises(ModelUnavailable):
        await health.check("llama3.2")
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            await health.check("llama3.2")
    assert time.monotonic() - began < 0.05
    await health.check("tiny")  # another model, with a runner of its own

    ollama.script = Script(["Yes."])
    async with asyncio.timeout(5):
        while True:
            try:
                await health.check("llama3.2")
            except ModelUnavailable:
                await asyncio.sleep(0.05)
            else:
                break
    assert await generate() == "Yes."


async def test_a_probe_of_a_model_that_was_lost_with_ollama_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "FAIL_FAST_SECONDS", 0.0)
    monkeypatch.setattr(hosts, "MODEL_PROBE_PATIENCE_SECONDS", 0.01)
    asked: list[object] = []

    async def lose_the_first(*arguments: object) -> None:
        asked.append(arguments)
        if len(asked) == 1:
            await asyncio.Event().wait()

    probe_host = Probe()
    health = Health(probe_host, lose_the_first)
    health.begin("llama3.2", 8192).time_out()
    with pytest.raises(ModelUnavailable):
        await health.check("llama3.2")
    probe_host.failures = math.inf
    failing_call(health)
    with pytest.raises(ModelUnavailable):
        await health.check("llama3.2")
    assert len(asked) == 1

    probe_host.failures = 0
    await health.check()
    await asyncio.sleep(0)
    with contextlib.suppress(ModelUnavailable):  # still known as hung, and asked again
        await health.check("llama3.2")
    await asyncio.sleep(0)

    await health.check("llama3.2")
    assert len(asked) == 2


async def test_a_model_that_is_only_slow_for_one_is_not_doubted(
    health: Health, ollama: ScriptedOllama
) -> None:
    ollama.scripts += [Script(then="silence"), Script(["Yes."], first_token_after=0.1)]
    slow = asyncio.create_task(generate())
    await asyncio.to_thread(ollama.wait_for_open, 1)

    assert await generate() == "Yes."
    with pytest.raises(ModelTimeout):
        await slow
    seen = len(ollama.chats)
    await health.check("llama3.2")

    assert len(ollama.chats) == seen


async def test_a_connection_that_breaks_off_raises_no_doubt_about_the_model(
    health: Health, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(then="die")
    with pytest.raises(ModelUnavailable):
        await generate()
    ollama.script = Script(["Yes."], hold_after=0)

    async with asyncio.timeout(1):
        await health.check("llama3.2")

    assert len(ollama.chats) == 1

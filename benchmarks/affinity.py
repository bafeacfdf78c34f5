"""Affinity: the tokens that two Ollamas read again for each turn, by those that one reads again.

Eight long threads get their turns in random order, two at a time. The server sends a thread to the
same of two bundled models every time. Beside it: one model alone, and a proxy that deals calls out
to both in turn. Each model has a slot for every thread, so what counts is where calls go, not what
a model forgets. Proxies before the models read what these say of each prompt.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import count

import aiohttp
from aiohttp import web

from benchmarks.long_conversations import MODEL, QUESTIONS, bundled_model
from benchmarks.readers import client, read, require_whole
from benchmarks.result import Result, note, run_alone
from benchmarks.world import Person, create_people, run, world
from chat.models import Thread
from testing.processes import Server, free_port

WHAT = "tokens that two models read again, by what one reads again"
LIMIT = 1.1
GOAL = f"at most {LIMIT}"

THREADS = 8
AT_ONCE = 2
WINDOW = 2048
LONG = 30  # questions in the first message of a thread, in an order of its own
OPTIONS = {"num_predict": 8, "temperature": 0}
ONE, TWO, DEALT_OUT = range(3)


def measure(quick: bool = False) -> Result:
    """Hold the same conversations three times."""
    turns, threads, long = (1, 3, 5) if quick else (5, THREADS, LONG)
    with ExitStack() as stack:
        models = [stack.enter_context(bundled_model(WINDOW, THREADS)) for _ in range(2)]
        urls = [str(model.base_url) for model in models]
        proxies = [Proxy(urls[:1]), Proxy(urls[1:]), Proxy(urls)]
        one, other, both = (proxy.url for proxy in proxies)
        settings = [{"OLLAMA_HOST": hosts} for hosts in (one, f"{one},{other}", both)]
        here = stack.enter_context(world(settings=settings))
        again = []
        for number, server in enumerate(here.servers):
            people = create_people(threads, name=f"person-{number}")
            Thread.objects.update(model=MODEL, options=OPTIONS)
            again.append(run(talk(server, people, proxies, long, turns)) / (turns * threads))
    note(f"{again[ONE]:.0f}, {again[TWO]:.0f} and {again[DEALT_OUT]:.0f} tokens a turn")
    ratio = again[TWO] / again[ONE]
    return Result(
        f"{ratio:.2f} ({again[TWO]:.0f} over {again[ONE]:.0f} a turn; "
        f"dealt out in turn {again[DEALT_OUT]:.0f}, {again[DEALT_OUT] / again[ONE]:.1f} times)",
        ratio <= LIMIT,
    )


class Proxy:
    """Passes calls on to models in turn, and adds up the tokens of prompts that they evaluated."""

    def __init__(self, models: Sequence[str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.evaluated = 0
        self._models = models
        self._calls = count()

    @asynccontextmanager
    async def serving(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Serve until the block ends."""

        async def handle(request: web.Request) -> web.StreamResponse:
            is_chat = request.path == "/api/chat"
            model = self._models[next(self._calls) % len(self._models) if is_chat else 0]
            body = await request.read()
            async with session.request(request.method, model + request.path, data=body) as answer:
                response = web.StreamResponse(status=answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                async for line in answer.content:
                    await response.write(line)
                    if is_chat and (said := json.loads(line)).get("done"):
                        cached = said["prompt_eval_cached_count"]
                        self.evaluated += said["prompt_eval_count"] - cached
            return response

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()
        try:
            yield
        finally:
            await runner.cleanup()


async def talk(
    server: Server, people: Sequence[Person], proxies: Sequence[Proxy], long: int, turns: int
) -> int:
    """Hold a conversation with each, and return the tokens evaluated after its long beginning."""
    places, order = asyncio.Semaphore(AT_ONCE), random.Random(1)  # noqa: S311 - no secret  # nosec B311

    async def send(person: Person, text: str) -> None:
        async with places:
            url, body = server.url + person.sends_to, {"message": text}
            require_whole([await read(session, "POST", url, headers=person.headers, json=body)])

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(client())
        for proxy in proxies:
            await stack.enter_async_context(proxy.serving(session))
        begun = (" ".join(order.sample(QUESTIONS, long)) for _ in people)
        await asyncio.gather(*map(send, people, begun))
        before = sum(proxy.evaluated for proxy in proxies)
        for question in QUESTIONS[-turns:]:
            shuffled = order.sample(people, len(people))
            await asyncio.gather(*(send(person, question) for person in shuffled))
        return sum(proxy.evaluated for proxy in proxies) - before


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

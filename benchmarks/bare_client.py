"""The bare `ollama.AsyncClient`, in a process of its own: the least that a relay can cost.

Prints its CPU time per token, in microseconds. It uses the same transport and event loop as the
server, and collects each reply's text, as any client would.
"""

import argparse
import asyncio
import time

import aiohttp
import httpx
import ollama
import uvloop
from httpx_aiohttp import AiohttpTransport

OPTIONS = {"num_ctx": 8192}


async def ask(client: ollama.AsyncClient, model: str, message: str) -> int:
    """Have the model answer; return how many tokens it sent."""
    text, tokens = "", 0
    messages = [{"role": "user", "content": message}]
    async for part in await client.chat(model, messages, options=OPTIONS, stream=True):
        if part.message.content:
            text += part.message.content
            tokens += 1
    return tokens


async def cost(url: str, model: str, readers: int, message: str, tokens: int) -> float:
    """Return the CPU time per token, in microseconds, of `readers` replies at the same time.

    Raises `RuntimeError` unless each has `tokens` tokens.
    """
    transport = AiohttpTransport(
        client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    )
    client = ollama.AsyncClient(host=url, transport=transport, timeout=httpx.Timeout(None))
    await client.show(model)  # the first call sets up more than the others
    before = time.process_time()
    counts = await asyncio.gather(*(ask(client, model, message) for _ in range(readers)))
    used = time.process_time() - before
    await client.close()  # type: ignore[no-untyped-call]
    if set(counts) != {tokens}:
        raise RuntimeError(f"replies have {min(counts)} to {max(counts)} tokens, not {tokens}")
    return used / sum(counts) * 1_000_000


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--message", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(cost(**vars(arguments))))


if __name__ == "__main__":
    main()

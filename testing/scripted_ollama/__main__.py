"""The scripted Ollama as a process, which answers every chat at a fixed rate.

python -m testing.scripted_ollama --port 11434 --interval 0.025 --tokens 200

Tokens that tell readers apart: `--numbered` makes each reply its question and then numbers, which
it also carries on from any character, at more CPU a token.
"""

import argparse
import asyncio
import resource
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from testing.scripted_ollama.script import ModelInfo, Script, numbered
from testing.scripted_ollama.server import ScriptedOllama

OPEN_FILES = 10_240


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that costs least of those that are installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def numbered_script(tokens: int, interval: float, body: Mapping[str, Any]) -> Script:
    """Return the numbered answer to a call."""
    said = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return Script(numbered(said[-1], tokens), interval=interval)


def main() -> None:
    """Answer every chat with the same tokens at a fixed rate until a signal comes."""
    parser = argparse.ArgumentParser(description="A scripted Ollama that answers at a fixed rate.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--interval", type=float, default=0.025, help="seconds between tokens")
    parser.add_argument("--tokens", type=int, default=200, help="tokens in an answer")
    parser.add_argument("--numbered", action="store_true", help="each token says which it is")
    arguments = parser.parse_args()
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # where less is allowed, it does with less
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, OPEN_FILES), most_files))

    benchmark = not arguments.numbered
    ollama = ScriptedOllama(arguments.port, address=arguments.address, benchmark=benchmark)
    ollama.models["bench:latest"] = ModelInfo(context_length=131_072)
    if arguments.numbered:
        ollama.script = partial(numbered_script, arguments.tokens, arguments.interval)
    else:
        ollama.script = Script(("word ",) * arguments.tokens, interval=arguments.interval)
    ready: Future[None] = Future()
    ready.add_done_callback(lambda _: print(f"scripted Ollama on {ollama.url}", flush=True))
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(ollama.serve(ready))


if __name__ == "__main__":
    main()

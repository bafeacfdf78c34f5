"""The scripted Ollama as a process, which answers every chat at a fixed rate.

python -m testing.scripted_ollama --port 11434 --interval 0.025 --tokens 200
"""

import argparse
import asyncio
import resource
from concurrent.futures import Future
from contextlib import suppress

from testing.scripted_ollama.script import ModelInfo, Script
from testing.scripted_ollama.server import ScriptedOllama

OPEN_FILES = 10_240


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that costs least of those that are installed."""
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
    arguments = parser.parse_args()
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # where less is allowed, it does with less
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, OPEN_FILES), most_files))

    ollama = ScriptedOllama(arguments.port, benchmark=True)
    ollama.models["bench:latest"] = ModelInfo(context_length=131_072)
    ollama.script = Script(("word ",) * arguments.tokens, interval=arguments.interval)
    ready: Future[None] = Future()
    ready.add_done_callback(lambda _: print(f"scripted Ollama on {ollama.url}", flush=True))
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(ollama.serve(ready))


if __name__ == "__main__":
    main()

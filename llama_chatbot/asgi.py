"""The ASGI application: Django with limited bodies, shared threads and an orderly shutdown.

Django on its own reads every body to the end before it looks at the request, gives each request a
thread and a database connection until its response has ended, and rejects lifespan events.
"""

import asyncio
import logging
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

# Both would take a thread for each request. Connections are also checked when a request ends, and
# queries are recorded only under DEBUG.
request_started.disconnect(close_old_connections)
if not settings.DEBUG:
    request_started.disconnect(reset_queries)

from chat.ollama import transport  # noqa: E402 - Django must be set up first
from chat.replies import live, takeover, workers  # noqa: E402
from chat.replies.forms.form import StreamAborted  # noqa: E402
from core.cleanup import Cleaner  # noqa: E402
from core.database import bound_statements, in_background, writers  # noqa: E402
from core.errors import ApiError  # noqa: E402
from core.logs import PrivateQueries  # noqa: E402
from llama_chatbot.cleanup import STEPS  # noqa: E402
from llama_chatbot.connections import bound_connections  # noqa: E402
from llama_chatbot.request_body import RequestBody  # noqa: E402

bound_connections()
bound_statements()
logging.getLogger("uvicorn.access").addFilter(PrivateQueries())


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Serve one HTTP request, or the lifespan events of the process."""
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
    elif scope["type"] == "http":
        await serve_http(scope, receive, send)


class RequestThreads:
    """Threads for the requests' sync work, each with its database connection.

    Requests share them: once a response streams, it hardly needs its thread any more.
    """

    def __init__(self, number: int) -> None:
        self.load: dict[Executor, int] = {
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="request"): 0
            for _ in range(number)
        }

    def acquire(self) -> Executor:
        """Return the thread with the fewest requests that have not begun their response."""
        executor = min(self.load, key=self.load.__getitem__)
        self.load[executor] += 1
        return executor

    def release(self, executor: Executor) -> None:
        """Count one request less for a thread: its response has begun."""
        self.load[executor] -= 1


threads = RequestThreads(settings.REQUEST_THREADS)


async def serve_http(
    scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Serve one HTTP request through Django."""
    request_body, body, error = RequestBody(), b"", None
    try:
        received = await request_body.read(receive)
        if received is None:
            request_body.release()
            return
        body = received
    except ApiError as body_error:
        error = body_error.with_traceback(None)  # or it and this frame would keep each other
    executor = threads.acquire()
    is_released = streams = False

    def release() -> None:
        nonlocal is_released
        if not is_released:
            is_released = True
            request_body.release()
            threads.release(executor)

    async def release_and_send(event: ASGISendEvent) -> None:
        nonlocal streams
        release()
        if event["type"] == "http.response.body" and event.get("more_body") and not streams:
            streams = True
            # Django does so at the end of the response. Until then the connection, which the
            # thread shares with other requests, would be kept for this one.
            executor.submit(close_old_connections)
        await send(event)

    try:
        async with ThreadSensitiveContext(executor=executor):
            await django_application(
                {**scope, "body_error": error},
                replay_body(body, receive),
                release_and_send,  # type: ignore[arg-type]
            )
    except (StreamAborted, live.ServerShuttingDown):
        pass  # a response without an end makes the server cut the connection
    finally:
        release()


def replay_body(body: bytes, receive: ASGIReceiveCallable) -> ASGIReceiveCallable:
    """Return a `receive` that returns the whole body first, then waits for the disconnect."""
    is_sent = False

    async def receive_again() -> ASGIReceiveEvent:
        nonlocal is_sent
        if not is_sent:
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        while (event := await receive())["type"] == "http.request":
            pass  # the rest of a body that was not read
        return event

    return receive_again


async def serve_lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer the server's lifespan events; end the live replies before the process exits."""
    await receive()
    drain_on_signals()
    cleaner = Cleaner(STEPS)
    cleaner.start()
    sweep = asyncio.create_task(takeover.sweep_forever())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    sweep.cancel()
    await asyncio.to_thread(cleaner.stop)
    await live.registry.drain()
    await in_background(writers, workers.record_end)
    await transport.close()
    await send({"type": "lifespan.shutdown.complete"})


def drain_on_signals() -> None:
    """Start the replies' grace period at the signal that ends the server.

    The server would first wait for its connections, which wait for their replies.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # as under runserver, which exits at once
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)

        def handler(signum: int, frame: FrameType | None, previous: Any = previous) -> None:
            loop.call_soon_threadsafe(live.registry.drain)
            if callable(previous):
                previous(signum, frame)

        signal.signal(number, handler)

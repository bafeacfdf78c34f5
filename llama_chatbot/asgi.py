"""The ASGI application: Django with bounded requests, shared threads and an orderly shutdown.

Django on its own reads every body to the end before it looks at the request, gives each request a
thread and a database connection until its response has ended, and rejects lifespan events.
"""

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_started
from django.db import Error as DatabaseError
from django.db import close_old_connections, reset_queries

from core import shared_metrics

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llama_chatbot.settings")
if settings.METRICS_DIRECTORY and not apps.ready:  # under runserver they have been made already
    try:
        shared_metrics.join(Path(settings.METRICS_DIRECTORY))
    except OSError as error:
        sys.exit(f"Cannot start, the setting METRICS_DIRECTORY is wrong: {error}")
django_application = get_asgi_application()

# Both would take a thread for each request. Connections are also checked when a request ends, and
# queries are recorded only under DEBUG.
request_started.disconnect(close_old_connections)
if not settings.DEBUG:
    request_started.disconnect(reset_queries)

from chat.feed.hub import hub  # noqa: E402 - Django must be set up first
from chat.ollama import transport  # noqa: E402
from chat.replies import registry, takeover, workers  # noqa: E402
from core.cleanup import Cleaner  # noqa: E402
from core.database import bound_statements, heartbeats, in_background  # noqa: E402
from core.uploads import Upload  # noqa: E402
from llama_chatbot import access_log, metrics  # noqa: E402
from llama_chatbot.cleanup import STEPS  # noqa: E402
from llama_chatbot.connections import bound_connections, cut_off_stalled_readers  # noqa: E402
from llama_chatbot.exchange import Exchange  # noqa: E402
from llama_chatbot.request_body import RequestBody  # noqa: E402

bound_connections()
bound_statements()
access_log.replace_uvicorns()

logger = logging.getLogger(__name__)


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Serve one HTTP request, or the lifespan events of the process."""
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
    elif scope["type"] == "http":
        await Exchange(scope, receive, send).serve(django_application)


async def serve_lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer the server's lifespan events; let go of the live replies before the process exits."""
    await receive()
    drain_on_signals()
    cleaner = Cleaner(STEPS)
    cleaner.start()
    beating = asyncio.create_task(workers.beat_forever())
    sweep = asyncio.create_task(takeover.sweep_forever())
    sampling = asyncio.create_task(metrics.sample_forever())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    sweep.cancel()
    hub.close()
    sampling.cancel()
    await asyncio.to_thread(cleaner.stop)
    await registry.current.drain()
    beating.cancel()
    try:
        # In the thread in which a heartbeat may still be on its way.
        await in_background(heartbeats, workers.record_end)
    except DatabaseError as error:  # then others notice a few seconds later
        logger.error("The end of this process is not recorded: %s", error)
    await transport.close()
    await send({"type": "lifespan.shutdown.complete"})


async def let_clients_go() -> None:
    """Have every request end: those that wait for replies, and those that wait for their clients.

    The server waits for its connections before it says that it ends.
    """
    hub.close()
    await registry.current.drain()
    RequestBody.end_soon()
    Upload.end_all()
    await cut_off_stalled_readers()


_ending: list[asyncio.Task[None]] = []  # the event loop keeps weak references only


def begin_to_end() -> None:
    """Begin to let the clients go, unless that has begun."""
    if not _ending:
        _ending.append(asyncio.create_task(let_clients_go(), context=contextvars.Context()))


def drain_on_signals() -> None:
    """Let the clients go at the signal that ends the server."""
    if threading.current_thread() is not threading.main_thread():
        return  # as under runserver, which exits at once
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)

        def handler(signum: int, frame: FrameType | None, previous: Any = previous) -> None:
            loop.call_soon_threadsafe(begin_to_end)
            if callable(previous):
                previous(signum, frame)

        signal.signal(number, handler)

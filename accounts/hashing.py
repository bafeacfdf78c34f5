"""Runs the views that hash passwords in a few threads of their own, with a short queue.

Hashing a password takes half a second of CPU time. In the threads of the requests, ten logins a
second would make everybody else wait.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.database import in_database, with_fresh_connections
from core.errors import Unavailable
from core.threads import Threads

MAX_WAITING = 6  # calls, which is about two seconds
NICENESS = 10

P = ParamSpec("P")
R = TypeVar("R")


class TooManyPasswords(Unavailable):
    """More passwords are to be hashed than the queue takes."""

    message = "Too many people are logging in just now: try again in a moment."


def _yield_to_others() -> None:
    """Let the other threads of the process go first; only Linux can do that for one thread."""
    if sys.platform == "linux":
        niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


_threads = Threads(settings.PASSWORD_THREADS, "password", _yield_to_others)
_places = threading.BoundedSemaphore(settings.PASSWORD_THREADS + MAX_WAITING)


async def in_password_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync function that hashes a password; it may use the database.

    Raises `TooManyPasswords` where the queue is full.
    """
    if not _places.acquire(blocking=False):
        raise TooManyPasswords(headers={"Retry-After": "2"})
    run = copy_context().run
    job: Future[R] = _threads.submit(run, with_fresh_connections, function, *args, **kwargs)  # type: ignore[arg-type]
    job.add_done_callback(lambda _: _places.release())  # also of one that was cancelled
    return await asyncio.wrap_future(job)


def hashes_password(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a sync view of the API, below its rate limit.

    A call whose body may have a `password` and has none runs in its request's thread.
    """
    body_class = signature(view).parameters["body"].annotation
    is_optional = "password" in body_class.model_fields and not (
        body_class.model_fields["password"].is_required()
    )

    @wraps(view)
    async def async_view(request: HttpRequest, **values: Any) -> Any:
        has_none = is_optional and values["body"].password is None
        run: Callable[..., Any] = in_database if has_none else in_password_thread
        return await run(view, request, **values)

    return async_view


def form_hashes_password(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """Decorate a sync view of the admin: its form is handled in the threads for passwords."""

    @wraps(view)
    async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        run: Any = in_password_thread if request.method == "POST" else in_database
        response: HttpResponseBase = await run(view, request, *args, **kwargs)
        return response

    return async_view

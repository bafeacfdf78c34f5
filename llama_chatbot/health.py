"""Health checks: whether the process is alive, and whether it can serve."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from uuid import uuid4

from django.core.cache import cache
from django.db import Error as DatabaseError
from django.http import HttpRequest
from ninja import Router, Schema, Status

from chat.ollama import calls
from chat.ollama.errors import ModelError
from chat.ollama.placement import hosts, without_password
from chat.replies import workers
from core.database import in_background, outage

router = Router(auth=None, tags=["health"])

CHECK_SECONDS = 3.0
MAX_AGE_SECONDS = 0.5  # of an answer: anybody may ask, and each check writes to the database

logger = logging.getLogger(__name__)


class Live(Schema):
    """The process serves."""

    status: Literal["ok"]


class Ready(Schema):
    """The state of each: "ok" or a reason."""

    database: str
    cache: str
    ollama: str


@router.api_operation(["GET", "HEAD"], "/live/", response=Live)
async def live(request: HttpRequest) -> dict[str, str]:
    """Answer for as long as the process serves requests."""
    return {"status": "ok"}


@router.api_operation(["GET", "HEAD"], "/ready/", response={200: Ready, 503: Ready})
async def ready(request: HttpRequest) -> Status[dict[str, str]]:
    """Return the state of the database, the cache and Ollama: each `"ok"` or a reason.

    503 only where the database does not take a write: without the others most calls still work,
    and another host would not be better off.
    """
    state = await readiness.read()
    return Status(200 if state["database"] == "ok" else 503, state)


class Readiness:
    """The state of what the process needs, checked once for all who ask at the same time."""

    def __init__(self) -> None:
        # A check that hangs keeps its thread; those that follow it wait in vain, and say so.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="health")
        self._check: asyncio.Task[dict[str, str]] | None = None
        self._began_at = 0.0  # of time.monotonic()
        self.hosts: dict[str, bool] = {}  # whether each Ollama answered, as of the last check

    async def read(self) -> dict[str, str]:
        """Return the state, checked within the last half second."""
        now = time.monotonic()
        if self._check is None or (self._check.done() and now - self._began_at > MAX_AGE_SECONDS):
            self._began_at = now
            # In a context of its own, since it outlives the request that began it.
            self._check = asyncio.create_task(self._run(), context=contextvars.Context())
        return await asyncio.shield(self._check)

    async def _run(self) -> dict[str, str]:
        database, cache, self.hosts = await asyncio.gather(
            with_timeout(in_background(self._threads, check_database)),
            with_timeout(in_background(self._threads, check_cache)),
            hosts_up(),  # whose calls have a time-out of their own
        )
        return {"database": database, "cache": cache, "ollama": state_of(self.hosts)}


readiness = Readiness()


async def with_timeout(check: Awaitable[str]) -> str:
    """Return the result of a check, or that it timed out."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return "does not answer in time"


def check_database() -> str:
    """Write a row: that this process is alive."""
    try:
        workers.record_heartbeat()
    except DatabaseError as error:
        if reason := outage(error):
            return reason
        logger.exception("The database does not take a write")
        return "does not take a write"
    return "ok"


def check_cache() -> str:
    """Store a value and read it back, in each server."""
    backend: Any = cache
    if hasattr(backend, "count_away"):  # Memcached's backend alone has servers
        away, number = backend.count_away(), len(backend.servers)
        if 0 < away < number:
            return f"{away} of {number} servers do not answer"
        return "does not answer" if away else "ok"
    key = f"health-{uuid4()}"
    cache.set(key, "ok", 5)
    return str(cache.get(key, "does not answer"))


async def hosts_up() -> dict[str, bool]:
    """Return whether each Ollama answers, by its address."""
    answers = await asyncio.gather(*map(calls.version, hosts()), return_exceptions=True)
    return {
        without_password(host): not isinstance(answer, ModelError)
        for host, answer in zip(hosts(), answers, strict=True)
    }


def state_of(hosts: dict[str, bool]) -> str:
    """Return "ok" or which hosts do not answer."""
    away = [host for host, is_up in hosts.items() if not is_up]
    if not away:
        return "ok"
    return "does not answer" if len(hosts) == 1 else f"{', '.join(away)}: no answer"

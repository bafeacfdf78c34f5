"""Health checks: whether the process is alive, and whether it can serve."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest
from ninja import Router, Schema, Status

from chat.ollama import calls
from chat.ollama.errors import ModelError

router = Router(auth=None, tags=["health"])

CHECK_SECONDS = 3.0


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
    """Return the state of the database, the cache and Ollama: each `"ok"` or a reason."""
    database_state, cache_state, ollama_state = await asyncio.gather(
        with_timeout(sync_to_async(check_database, thread_sensitive=False)),
        with_timeout(sync_to_async(check_cache, thread_sensitive=False)),
        with_timeout(check_ollama),
    )
    state = {"database": database_state, "cache": cache_state, "ollama": ollama_state}
    return Status(200 if set(state.values()) == {"ok"} else 503, state)


async def with_timeout(check: Callable[[], Any]) -> str:
    """Return the result of a check, or that it timed out."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return str(await check())
    except TimeoutError:
        return "does not answer in time"


def check_database() -> str:
    """Run an empty query."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "does not answer"
    finally:
        connection.close()
    return "ok"


def check_cache() -> str:
    """Store a value and read it back."""
    key = f"health-{uuid4()}"
    cache.set(key, "ok", 5)
    return str(cache.get(key, "does not answer"))


async def check_ollama() -> str:
    """Ask Ollama for its version."""
    try:
        await calls.version()
    except ModelError:
        return "does not answer"
    return "ok"

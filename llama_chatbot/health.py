"""Whether the process lives, and whether what it stands on does."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest
from ninja import Router, Status

from chat.ollama import client
from chat.ollama.errors import ModelError

router = Router(auth=None, tags=["health"])

CHECK_SECONDS = 3.0


@router.api_operation(["GET", "HEAD"], "/live/")
async def live(request: HttpRequest) -> dict[str, str]:
    """Answer as long as the process serves requests."""
    return {"status": "ok"}


@router.api_operation(
    ["GET", "HEAD"], "/ready/", response={200: dict[str, str], 503: dict[str, str]}
)
async def ready(request: HttpRequest) -> Status[dict[str, str]]:
    """Tell whether the database, the cache and Ollama answer, each `"ok"` or a reason."""
    database, stored, ollama = await asyncio.gather(
        in_time(sync_to_async(check_database, thread_sensitive=False)),
        in_time(sync_to_async(check_cache, thread_sensitive=False)),
        in_time(check_ollama),
    )
    state = {"database": database, "cache": stored, "ollama": ollama}
    return Status(200 if set(state.values()) == {"ok"} else 503, state)


async def in_time(check: Callable[[], Any]) -> str:
    """Return what a check says, or that it took too long."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return str(await check())
    except TimeoutError:
        return "does not answer in time"


def check_database() -> str:
    """Ask the database for nothing."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "does not answer"
    finally:
        connection.close()
    return "ok"


def check_cache() -> str:
    """Store something and read it again."""
    key = f"health-{uuid4()}"
    cache.set(key, "ok", 5)
    return str(cache.get(key, "does not answer"))


async def check_ollama() -> str:
    """Ask Ollama for its version."""
    try:
        await client.version()
    except ModelError:
        return "does not answer"
    return "ok"

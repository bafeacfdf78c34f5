"""Rate limits: django-ratelimit's counters with our keys and the contract's headers.

The rates are in one table, `RATE_LIMITS` in `settings.py`. A call is counted as soon as its caller
is known, before its body is parsed: `rate_limit` says by which limit, and the function that
authenticates the caller calls `count_call`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from ninja.decorators import decorate_view

from core import metrics
from core.addresses import client_network
from core.decorators import before_view
from core.errors import RateLimited, Unavailable
from core.openapi import RATE_LIMIT_HEADERS, describe

logger = logging.getLogger(__name__)

for _name in settings.RATE_LIMITS:  # a count that begins with its first event hides it from `rate`
    metrics.calls_not_counted.labels(_name)


class Limit(NamedTuple):
    """How a view's calls are counted: see `rate_limit`."""

    name: str
    needs_cache: bool
    repeatable: bool


def rate_limit(
    name: str, *, needs_cache: bool = False, repeatable: bool = False
) -> Callable[..., Any]:
    """Decorate a view, below its route: count its calls against the limit `name`.

    A call of a `repeatable` view with an Idempotency-Key may be the repetition of an earlier one,
    which does not count: the view finds out, and calls `count_pending` where it is none.
    """
    limit = Limit(name, needs_cache, repeatable)

    def announce(request: HttpRequest) -> None:
        request.rate_limit = limit  # type: ignore[attr-defined]

    announced = decorate_view(before_view(announce, blocks=False))
    described = describe(RateLimited, response_headers=RATE_LIMIT_HEADERS)
    return lambda view: described(announced(view))


def count_call(request: HttpRequest, key: str) -> None:
    """Count the call that is under way; blocks on the cache.

    `key` is its caller's. Raises what `count` raises.
    """
    limit: Limit | None = getattr(request, "rate_limit", None)
    if limit is None:
        return
    request.rate_limit_key = key  # type: ignore[attr-defined]
    if limit.repeatable and "Idempotency-Key" in request.headers:
        count(request, limit.name, key, is_counted=False)
    else:
        count_pending(request)


def count_pending(request: HttpRequest) -> None:
    """Count the call, unless that has been done. Raises what `count` raises."""
    if limit := request.__dict__.pop("rate_limit", None):
        count(request, limit.name, request.rate_limit_key, needs_cache=limit.needs_cache)  # type: ignore[attr-defined]


def count_refused(request: HttpRequest) -> None:
    """Count a call whose body was refused, unless that has been done; does not block."""

    def count_quietly() -> None:
        with suppress(RateLimited, Unavailable):
            count_pending(request)

    if hasattr(request, "rate_limit"):
        loop = asyncio.get_running_loop()  # only async views are repeatable
        loop.run_in_executor(None, copy_context().run, count_quietly)


def key_of_address(request: HttpRequest) -> str:
    """Return the key under which the calls of an address are counted, whoever makes them."""
    return f"ip:{client_network(request)}"


def count(
    request: HttpRequest,
    name: str,
    key: str,
    *,
    needs_cache: bool = False,
    is_counted: bool = True,
) -> None:
    """Count one call against the limit `name`; blocks on the cache.

    Calls with the same `key` are counted together. Raises `RateLimited` over the limit. Without the
    cache, the call passes uncounted, or with `needs_cache` is refused with `Unavailable`.
    `is_counted=False` only looks whether the limit is exceeded already.
    """
    usage = get_usage(
        request,
        group=name,
        key=lambda *_: key,
        rate=settings.RATE_LIMITS[name],
        increment=is_counted,
    )
    if usage is None:  # RATELIMIT_ENABLE is off
        return
    if usage["time_left"] < 0:
        metrics.calls_not_counted.labels(name).inc()
        logger.warning("The cache is away: a call was not counted against the limit %s", name)
        if needs_cache:
            raise Unavailable
        return

    reset = usage["time_left"] + 1  # which was rounded down
    headers = {
        "RateLimit-Limit": str(usage["limit"]),
        "RateLimit-Remaining": str(max(0, usage["limit"] - usage["count"])),
        "RateLimit-Reset": str(reset),
    }
    if usage["should_limit"]:
        raise RateLimited(
            f"Too many requests: try again in {reset} seconds.",
            headers={**headers, "Retry-After": str(reset)},
        )
    # The first limit only: a second one's would show which names belong to one account.
    if is_counted and not hasattr(request, "rate_limit_headers"):
        request.rate_limit_headers = headers  # type: ignore[attr-defined]

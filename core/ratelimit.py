"""Rate limits: django-ratelimit's counters with our keys and the contract's headers.

The rates are in one table, `RATE_LIMITS` in `settings.py`.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from core.addresses import client_network
from core.decorators import before_view
from core.errors import RateLimited, Unavailable
from core.openapi import RATE_LIMIT_HEADERS, describe

logger = logging.getLogger(__name__)


def count(request: HttpRequest, name: str, key: str = "", *, needs_cache: bool = False) -> None:
    """Count one call against the limit `name`; blocks on the cache.

    Calls with the same `key` are counted together: by default those of a user, or of an address
    where nobody is logged in. Raises `RateLimited` over the limit. Without the cache, the call
    passes uncounted, or with `needs_cache` is refused with `Unavailable`.
    """
    user = getattr(request, "auth", None)
    if not key:
        key = f"u:{user.pk}" if user and user.pk else f"ip:{client_network(request)}"
    usage = get_usage(
        request,
        group=name,
        key=lambda *_: key,
        rate=settings.RATE_LIMITS[name],
        increment=True,
    )
    if usage is None:  # RATELIMIT_ENABLE is off
        return
    if usage["time_left"] < 0:
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
    if not hasattr(request, "rate_limit_headers"):
        request.rate_limit_headers = headers  # type: ignore[attr-defined]


def rate_limit(name: str, *, needs_cache: bool = False) -> Callable[..., Any]:
    """Count each call of a view against the limit `name` before it runs."""
    check = before_view(partial(count, name=name, needs_cache=needs_cache))
    describe_limit = describe(RateLimited, response_headers=RATE_LIMIT_HEADERS)
    return lambda view: describe_limit(check(view))

"""Rate limits: django-ratelimit's counters, our keys, the contract's headers.

The rates stand in one table, `RATE_LIMITS` in `settings.py`.
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

logger = logging.getLogger(__name__)


def count(request: HttpRequest, name: str, key: str = "", *, needs_cache: bool = False) -> None:
    """Count one call against the limit `name`; blocks on the cache.

    `key` says whose calls are counted together: by default the user's, or the address's of
    somebody who is not logged in. Raises `RateLimited` over the limit. Where the cache is away the
    call passes, or with `needs_cache` is refused with `Unavailable`.
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

    reset = usage["time_left"] + 1  # it has been rounded down
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
    # A second limit is not told of: whose guesses are counted together would be seen by it.
    if not hasattr(request, "rate_limit_headers"):
        request.rate_limit_headers = headers  # type: ignore[attr-defined]


def rate_limit(name: str, *, needs_cache: bool = False) -> Callable[..., Any]:
    """Count each call of a view, sync or async, against the limit `name` before it runs."""
    return before_view(partial(count, name=name, needs_cache=needs_cache))

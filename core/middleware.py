"""Our own middleware: request ids, errors, host names, limits, and protection of browsers.

All of it is async only: under ASGI, a sync middleware would occupy a thread for as long as its
request runs. Django's own middleware, adapted in the same way, is in `django_middleware.py`.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import ClassVar
from uuid import uuid4

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from core.database import outage
from core.errors import ApiError, CrossOrigin, Unavailable, error_for_status
from core.logs import current_request

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class AsyncMiddleware:
    """Base class of middleware that is async only."""

    sync_capable: ClassVar[bool] = False
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)  # type: ignore[type-var]


class RequestId(AsyncMiddleware):
    """Gives each request an id, which is in its response and in every log line about it.

    The proxy's `X-Request-ID` is kept if it is safe to log.
    """

    safe_id = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response with the request's id."""
        given = request.headers.get("X-Request-ID", "")
        request.id = given if self.safe_id.fullmatch(given) else uuid4().hex  # type: ignore[attr-defined]
        current_request.set(request)
        request.scope["request"] = request  # type: ignore[attr-defined]  # for the access log
        response = await self.get_response(request)
        response["X-Request-ID"] = request.id  # type: ignore[attr-defined]
        return response


class AllowedHosts(AsyncMiddleware):
    """Rejects every request for another host name; Django checks only where it uses the name.

    Load balancers and Prometheus call by IP address, so what they read answers to any name.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, or 400."""
        try:
            path = request.path_info
            if not path.startswith("/health/") and path != "/metrics":
                request.get_host()
        except DisallowedHost:
            return ApiError(
                "This server does not answer to that host name: see the setting ALLOWED_HOSTS."
            ).response()
        return await self.get_response(request)


class JsonErrors(AsyncMiddleware):
    """Gives every error the contract's shape, whether Django, Ninja or the admin made it."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, an error as JSON with the same headers."""
        response = await self.get_response(request)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_json:
            return response
        error = error_for_status(response.status_code).response()
        for name, value in response.items():
            if name not in ("Content-Type", "Content-Length"):
                error[name] = value
        error.cookies = response.cookies
        return error

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer an error of a view outside Ninja, such as the admin's, that is no crash."""
        if isinstance(error, DatabaseError) and (reason := outage(error)):
            logger.error("The database %s: %s", reason, error)
            return Unavailable().response()
        return error.response() if isinstance(error, ApiError) else None


class ContentSecurityPolicy(AsyncMiddleware):
    """Has browsers run nothing on the admin's pages that does not come from this server.

    Django has no such middleware before version 6. On the API's JSON it has no effect.
    """

    policy = (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response with the policy, unless it has one of its own."""
        response = await self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        return response


class NoStore(AsyncMiddleware):
    """Has nobody keep a copy of a response, unless the view says otherwise.

    Most are private. Static files say how long they may be kept.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, with `Cache-Control` if it has none."""
        response = await self.get_response(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


class RateLimitHeaders(AsyncMiddleware):
    """Reports what `ratelimit.count` has counted for the request."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response with the contract's three headers."""
        response = await self.get_response(request)
        for name, value in getattr(request, "rate_limit_headers", {}).items():
            response.headers.setdefault(name, value)
        return response


class BodyErrors(AsyncMiddleware):
    """Rejects a request whose body the ASGI application could not read to the end."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, or the error of reading the body."""
        error: ApiError | None = request.scope.get("body_error")  # type: ignore[attr-defined]
        return error.response() if error else await self.get_response(request)


class CrossOriginProtection(AsyncMiddleware):
    """Rejects requests that another site's page sends with its visitor's cookies.

    It takes the place of CSRF tokens, which an API for other origins cannot hand out. The order of
    its checks is that of Go's `http.CrossOriginProtection`: what the browser itself states about
    the request takes precedence over any comparison of names.
    """

    safe_methods = ("GET", "HEAD", "OPTIONS")

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, or 403 `cross_origin`."""
        if request.method in self.safe_methods or self.is_allowed(request):
            return await self.get_response(request)
        return CrossOrigin().response()

    def is_allowed(self, request: HttpRequest) -> bool:
        """Return whether a request that changes something comes from an allowed origin."""
        origin = request.headers.get("Origin")
        if origin in settings.FRONTEND_ORIGINS:
            return True
        if site := request.headers.get("Sec-Fetch-Site"):
            return site in ("same-origin", "none")
        if origin is None:  # every browser sends it here, so this is a script
            return True
        return origin == f"{request.scheme}://{request.get_host()}"

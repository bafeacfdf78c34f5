"""What stands around every request: its id, errors, limits, static files, protection of browsers.

All of it is async only: a sync middleware under ASGI would hold a thread for as long as its
request runs.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, cast
from uuid import uuid4

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from core.errors import ApiError, CrossOrigin, TooLarge, of_status
from core.logs import current_request

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class AsyncMiddleware:
    """The shape of Django's middleware, for async code only."""

    sync_capable: ClassVar[bool] = False
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)  # type: ignore[type-var]


class RequestId(AsyncMiddleware):
    """Names each request, in its answer and in all that is logged of it.

    The name is the one that the proxy has given it, if that can stand in a log.
    """

    sane = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, with the request's id."""
        given = request.headers.get("X-Request-ID", "")
        request.id = given if self.sane.fullmatch(given) else uuid4().hex  # type: ignore[attr-defined]
        current_request.set(request)
        response = await self.get_response(request)
        response["X-Request-ID"] = request.id  # type: ignore[attr-defined]
        return response


class AllowedHosts(AsyncMiddleware):
    """Refuses a request under a name that is not this server's; Django looks only when it needs it.

    Load balancers probe by the machine's address, so health answers under any.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, or 400."""
        try:
            if not request.path_info.startswith("/health/"):
                request.get_host()
        except DisallowedHost:
            return ApiError(
                "This server has another name: see the setting ALLOWED_HOSTS."
            ).response()
        return await self.get_response(request)


class JsonErrors(AsyncMiddleware):
    """Gives every error the contract's shape, whoever made it: Django, Ninja or the admin."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, or its error as JSON under the same headers."""
        response = await self.get_response(request)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_json:
            return response
        answer = of_status(response.status_code).response()
        for name, value in response.items():
            if name not in ("Content-Type", "Content-Length"):
                answer[name] = value
        answer.cookies = response.cookies
        return answer

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer an `ApiError` of a view that is not Ninja's, such as the admin's login."""
        return error.response() if isinstance(error, ApiError) else None


class ContentSecurityPolicy(AsyncMiddleware):
    """Tells browsers to run nothing on the admin's pages that does not come from this server.

    Django has none of its own before version 6. The API's answers are no pages, and lose nothing.
    """

    policy = (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, under the policy."""
        response = await self.get_response(request)
        response["Content-Security-Policy"] = self.policy
        return response


class RateLimitHeaders(AsyncMiddleware):
    """Tells what `ratelimit.count` has counted for the request."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer with the contract's three headers."""
        response = await self.get_response(request)
        for name, value in getattr(request, "rate_limit_headers", {}).items():
            response.headers.setdefault(name, value)
        return response


class BodyLimit(AsyncMiddleware):
    """Answers a request whose body the ASGI application has not read to its end."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, or 413 and the end of the connection."""
        if not request.scope.get("body_too_large"):  # type: ignore[attr-defined]
            return await self.get_response(request)
        return TooLarge(headers={"Connection": "close"}).response()


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, which has no async form of its own."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: View) -> None:
        super().__init__(get_response)
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the static file at the request's path, or the view's answer."""
        if request.path_info.startswith(self.static_prefix) and (
            response := await sync_to_async(self.read)(request)
        ):
            return response
        answer: HttpResponseBase = await self.get_response(request)
        return answer

    def read(self, request: HttpRequest) -> HttpResponse | None:
        """Return the whole file as one answer: an async server cannot send a sync iterator."""
        find = self.find_file if self.autorefresh else self.files.get
        if not (file := find(request.path_info)):
            return None
        stream = self.serve(file, request)
        response = HttpResponse(b"".join(stream), status=stream.status_code)
        response.headers = stream.headers
        return response


class CrossOriginProtection(AsyncMiddleware):
    """Refuses what a page of another site sends with its visitor's cookies.

    It stands in the place of CSRF tokens, which an API for other origins cannot hand out. The
    order of its questions is the one of Go's `http.CrossOriginProtection`: what the browser itself
    says of the request is believed before anything is compared.
    """

    safe_methods = ("GET", "HEAD", "OPTIONS")

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, or 403 `cross_origin`."""
        if request.method in self.safe_methods or self.is_allowed(request):
            return await self.get_response(request)
        return CrossOrigin().response()

    def is_allowed(self, request: HttpRequest) -> bool:
        """Tell whether a request that changes something comes from where it may."""
        origin = request.headers.get("Origin")
        if origin in settings.FRONTEND_ORIGINS:
            return True
        if site := request.headers.get("Sec-Fetch-Site"):
            return site in ("same-origin", "none")
        if origin is None:  # no browser leaves it out, so this is a script
            return True
        return origin == f"{request.scheme}://{request.get_host()}"


def on_the_event_loop(middleware: type[MiddlewareMixin]) -> type[MiddlewareMixin]:
    """Return one of Django's middlewares whose hooks never block, without a thread for each hook.

    Django runs every sync hook in a thread: ten of them a request took a quarter of the time of a
    list of threads.
    """

    class OnTheEventLoop(middleware):  # type: ignore[misc, valid-type]
        async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
            before = getattr(self, "process_request", lambda request: None)
            after = getattr(self, "process_response", lambda request, response: response)
            response: HttpResponseBase = before(request) or await self.get_response(request)
            response = after(request, response)
            return response

    if hasattr(middleware, "process_view"):

        async def process_view(self: Any, *args: Any) -> Any:
            return middleware.process_view(self, *args)

        OnTheEventLoop.process_view = process_view
    return OnTheEventLoop


Security = on_the_event_loop(SecurityMiddleware)
Csrf = on_the_event_loop(CsrfViewMiddleware)
Authentication = on_the_event_loop(AuthenticationMiddleware)
Messages = on_the_event_loop(MessageMiddleware)
XFrameOptions = on_the_event_loop(XFrameOptionsMiddleware)


class Sessions(SessionMiddleware):
    """Django's, with a thread only where there is a session to be stored."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer, with the session's cookie where it has changed."""
        self.process_request(request)
        response = cast(HttpResponse, await cast(View, self.get_response)(request))
        if request.session.modified:
            try:
                return await sync_to_async(self.process_response)(request, response)
            except SessionInterrupted:
                return response  # ended elsewhere meanwhile; what was done is done
        return self.process_response(request, response)

"""The middleware of Django and WhiteNoise, run on the event loop.

Under ASGI Django runs each sync hook of a middleware in a thread: ten such hooks took a quarter of
the time of listing threads. The hooks used here never block, except where noted.
"""

import gzip
import logging
import re
from collections.abc import Awaitable
from typing import Any, cast

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from core.database import outage
from core.errors import Unavailable
from core.middleware import View

logger = logging.getLogger(__name__)
accepts_gzip = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


def on_the_event_loop(middleware: type[MiddlewareMixin]) -> type[MiddlewareMixin]:
    """Return one of Django's middleware classes with its hooks called directly, not in threads."""

    class OnTheEventLoop(middleware):  # type: ignore[misc, valid-type]
        sync_capable = False

        async def __call__(self, request: HttpRequest) -> HttpResponseBase:
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
    """Django's sessions, using a thread only where a session must be saved."""

    sync_capable = False

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response, with the session's cookie where the session has changed."""
        self.process_request(request)
        response = await cast(Awaitable[HttpResponse], self.get_response(request))
        if request.session.modified:
            try:
                return await sync_to_async(self.process_response)(request, response)
            except SessionInterrupted:
                return response  # ended elsewhere in the meantime: the request has been served
            except DatabaseError as error:
                if not (reason := outage(error)):
                    raise
                logger.error("A session is not saved, the database %s: %s", reason, error)
                # Reading goes on: what is lost is only when the session was last seen.
                is_read = request.method in ("GET", "HEAD", "OPTIONS")
                return response if is_read else Unavailable().response()
        return self.process_response(request, response)


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, which has no async version, and compresses nothing before `collectstatic`."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: View) -> None:
        super().__init__(get_response)
        self.compressed: dict[str, tuple[str, bytes]] = {}  # of a path: the ETag and the bytes
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the static file at the request's path, or the view's response."""
        if request.path_info.startswith(self.static_prefix) and (
            response := await sync_to_async(self.read)(request)
        ):
            return response
        answer: HttpResponseBase = await self.get_response(request)
        return answer

    def read(self, request: HttpRequest) -> HttpResponse | None:
        """Return the whole file as one response: an async server cannot send a sync iterator."""
        find = self.find_file if self.autorefresh else self.files.get
        if not (file := find(request.path_info)):
            return None
        stream = self.serve(file, request)
        response = HttpResponse(b"".join(stream), status=stream.status_code)
        response.headers = stream.headers
        self.compress(request, response)
        return response

    def compress(self, request: HttpRequest, response: HttpResponse) -> None:
        """Compress a whole text once, and send that to whoever takes it."""
        is_text = response.headers.get("Content-Type", "").startswith("text/")
        if not is_text or "Content-Encoding" in response.headers:
            return
        patch_vary_headers(response, ["Accept-Encoding"])
        if response.status_code != 200 or request.method != "GET":
            return
        if not accepts_gzip.search(request.headers.get("Accept-Encoding", "")):
            return
        tag, data = self.compressed.get(request.path_info, ("", b""))
        if tag != response["ETag"]:
            tag, data = response["ETag"], gzip.compress(response.content, mtime=0)
            self.compressed[request.path_info] = tag, data
        response.content = data
        response["Content-Encoding"] = "gzip"
        response["Content-Length"] = str(len(data))

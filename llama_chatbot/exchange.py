"""One HTTP request and its response: its body, its thread, its line in the access log."""

import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from asgiref.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)
from django.conf import settings
from django.db import close_old_connections
from django.http import HttpRequest

from chat.replies.forms.form import StreamAborted
from core import metrics
from core.errors import ApiError, ServerShuttingDown
from core.threads import Threads
from core.uploads import Upload
from llama_chatbot import access_log
from llama_chatbot.request_body import RequestBody

Application = Callable[..., Awaitable[None]]

UPLOAD_PATHS = {"/chat/import/"}  # whose views read the body themselves


class RequestThreads:
    """Threads for the requests' sync work, each with its database connection.

    Requests share them: once a response streams, it hardly needs its thread any more.
    """

    def __init__(self, number: int) -> None:
        self.load: dict[Executor, int] = {Threads(1, "request"): 0 for _ in range(number)}

    def acquire(self) -> Executor:
        """Return the thread with the fewest requests that have not begun their response."""
        executor = min(self.load, key=self.load.__getitem__)
        self.load[executor] += 1
        return executor

    def release(self, executor: Executor) -> None:
        """Count one request less for a thread: its response has begun."""
        self.load[executor] -= 1


threads = RequestThreads(settings.REQUEST_THREADS)


class Exchange:
    """One HTTP request and its response, served by Django."""

    def __init__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began_at = time.monotonic()
        self._body = RequestBody()
        self._upload = Upload(receive) if scope["path"] in UPLOAD_PATHS else None
        self._thread: Executor
        self._status: int | None = None
        self._has_begun = self._is_streaming = False

    async def serve(self, django: Application) -> None:
        """Read the body, have Django answer, and write the access log."""
        body, error = b"", None
        try:
            received = b"" if self._upload else await self._body.read(self._receive)
        except ApiError as body_error:
            error = body_error.with_traceback(None)  # or it and this frame would keep each other
        else:
            if received is None:  # the client has gone
                self._body.release()
                return
            body = received

        self._thread = threads.acquire()
        scope: dict[str, Any] = {**self._scope, "body_error": error, "upload": self._upload}
        if self._upload:
            scope["headers"] = without_length(scope["headers"])
        try:
            async with ThreadSensitiveContext(executor=self._thread):
                await django(scope, self._replay(body), self._observe_and_send)
        except (StreamAborted, ServerShuttingDown):
            pass  # a response without an end makes the server cut the connection
        finally:
            self._begin_response()
            # The middleware `RequestId` has put the request there; the two refer to each other.
            self._record(scope.pop("request", None))

    def _record(self, request: HttpRequest | None) -> None:
        """Write the access log and count the request."""
        match = request.resolver_match if request else None
        end = access_log.End(
            self._scope["method"],
            self._scope["path"],
            match.route if match else None,
            self._status or access_log.CLIENT_GONE,
            time.monotonic() - self._began_at,
        )
        access_log.write(request, self._scope, end)
        metrics.http_request(end.method, end.route or "", end.status, end.seconds)

    def _replay(self, body: bytes) -> ASGIReceiveCallable:
        """Return a `receive` that returns the whole body first, then waits for the disconnect."""
        is_sent = False
        receive_more = self._upload.disconnected if self._upload else self._receive

        async def receive() -> ASGIReceiveEvent:
            nonlocal is_sent
            if not is_sent:
                is_sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            while (event := await receive_more())["type"] == "http.request":
                pass  # the rest of a body that was not read
            return event

        return receive

    async def _observe_and_send(self, event: ASGISendEvent) -> None:
        if event["type"] == "http.response.start":
            self._status = event["status"]
            self._begin_response()
            if self._upload and not self._upload.is_read:
                event["headers"] = [*event["headers"], (b"connection", b"close")]
        elif event["type"] == "http.response.body" and event.get("more_body"):
            self._begin_stream()
        await self._send(event)

    def _begin_response(self) -> None:
        """Let other requests have the thread, and the bytes of the body."""
        if not self._has_begun:
            self._has_begun = True
            self._body.release()
            threads.release(self._thread)

    def _begin_stream(self) -> None:
        """Give the thread's database connection back, as Django does when a response has ended.

        Until then it would be kept for this response alone, by a thread that others use too.
        """
        if not self._is_streaming:
            self._is_streaming = True
            self._thread.submit(close_old_connections)


def without_length(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that seems to have no body: Django refuses a long one."""
    return [header for header in headers if header[0] != b"content-length"]

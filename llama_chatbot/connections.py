"""Bounds each HTTP connection: the time and size of its headers, and the time of a stalled reader.

uvicorn with httptools bounds neither: `--h11-max-incomplete-event-size` is for h11 alone, and
`--timeout-keep-alive` counts only between a response and the next byte. Bodies reach the
application, which bounds them itself (see `request_body.py`).
"""

import asyncio
import logging
from typing import Any, ClassVar

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.errors import ApiError, HeadersTooLarge, RequestTimeout

HEADER_SECONDS = 10.0  # from the connection or the first byte on, until all headers are there
MAX_HEADER_BYTES = 64 * 1024
FIRST_REQUEST_SECONDS = 0.25  # after the end of the process has begun
STALLED_SECONDS = 60.0  # in which a client must have read some of what was sent
LAST_STALLED_SECONDS = 0.3  # the same, when the process is about to end

logger = logging.getLogger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with these bounds, and errors in the one shape."""

    connected: ClassVar[set["BoundedProtocol"]] = set()

    is_open = True  # until the process is about to end
    awaits_headers = True
    header_bytes = 0  # of the request whose headers are not complete
    refusal: ApiError | None = None
    header_timer: asyncio.TimerHandle | None = None
    stall_timer: asyncio.TimerHandle | None = None
    stalls = 0  # that are over

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection on which nothing comes is closed as well."""
        super().connection_made(transport)
        self.connected.add(self)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self.connected.discard(self)
        self._stop_header_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, unless the headers it belongs to are too large."""
        if self.awaits_headers:
            self.header_bytes += len(data)
            if self.header_timer is None:
                self._start_header_timer()
        super().data_received(data)
        if (
            self.awaits_headers
            and self.header_bytes > MAX_HEADER_BYTES
            and not self.transport.is_closing()
        ):
            self._refuse(HeadersTooLarge())

    def on_headers_complete(self) -> None:
        """Begin the request, unless its headers were too large even in one piece."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self.refusal = HeadersTooLarge()
            raise HttpParserError  # which becomes `send_400_response`
        self.awaits_headers = False
        self._stop_header_timer()
        super().on_headers_complete()
        if self.cycle and not self.is_open:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Await the headers of the connection's next request."""
        self.awaits_headers = True
        self.header_bytes = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection when the process ends, but take a first request on its way.

        A proxy does not send it again: it may have been read.
        """
        if not self.cycle and self.is_open:
            self.is_open = False
            self.loop.call_later(FIRST_REQUEST_SECONDS, self.shutdown)
        elif not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in the shape of all errors."""
        self._refuse(self.refusal or ApiError(msg))

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        super().pause_writing()
        self._stop_stall_timer()
        self.stall_timer = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it: the client has read."""
        self.stalls += 1
        self._stop_stall_timer()
        super().resume_writing()

    def _start_header_timer(self) -> None:
        self.header_timer = self.loop.call_later(HEADER_SECONDS, self._headers_are_late)

    def _stop_header_timer(self) -> None:
        if self.header_timer:
            self.header_timer.cancel()
            self.header_timer = None

    def _stop_stall_timer(self) -> None:
        if self.stall_timer:
            self.stall_timer.cancel()
            self.stall_timer = None

    def _headers_are_late(self) -> None:
        self.header_timer = None
        if self.cycle and not self.cycle.response_complete:
            self._start_header_timer()  # half of a next request must not cut this one's response
        elif self.header_bytes:
            self._refuse(RequestTimeout())
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Send an error, if no response is under way, and close the connection."""
        address = self.client[0] if self.client else "-"
        logger.info("A connection from %s is closed: %s", address, error.message)
        if not self.transport.is_closing() and (not self.cycle or self.cycle.response_complete):
            response = error.response()
            body = response.content
            head = (
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()


async def cut_off_stalled_readers() -> None:
    """Wait for no client that takes nothing of what is sent: the process is about to end.

    Also of one that has little left to take, for which no clock runs.
    """
    while BoundedProtocol.connected:
        before = [
            (connection, connection.transport.get_write_buffer_size(), connection.stalls)
            for connection in BoundedProtocol.connected
        ]
        await asyncio.sleep(LAST_STALLED_SECONDS)
        for connection, unsent, stalls in before:
            if connection not in BoundedProtocol.connected or connection.stalls > stalls:
                continue
            if 0 < unsent <= connection.transport.get_write_buffer_size():
                connection.transport.abort()


def bound_connections() -> None:
    """Have uvicorn use `BoundedProtocol`, however it was started.

    Private part of uvicorn: `HttpToolsProtocol`, which its command line allows no other class in
    the place of. Without it requests work, and headers are bounded in neither time nor size, nor
    are readers that stall. Then pass the class as `http` where uvicorn takes one, or start uvicorn
    by a program of ours, or see whether it has such bounds of its own by now.
    """

    def new(cls: type, *args: Any, **kwargs: Any) -> HttpToolsProtocol:
        instance: HttpToolsProtocol = object.__new__(BoundedProtocol)
        return instance

    HttpToolsProtocol.__new__ = new  # type: ignore[assignment, method-assign]

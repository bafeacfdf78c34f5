"""Bodies of more than a mebibyte, which a view reads itself once it knows who is asking."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

from asgiref.typing import ASGIReceiveCallable, ASGIReceiveEvent
from django.http import HttpRequest

from core.errors import RequestTimeout, ServerShuttingDown, TooLarge, Unavailable

PIECE_SECONDS = 30.0  # between two pieces of a body
UPLOAD_SECONDS = 60 * 60.0
MAX_UPLOADS = 4  # that a process reads at once
CLOSE = {"Connection": "close"}  # the rest of a body would be taken for the next request


class UploadTooLarge(TooLarge):
    """The upload has more bytes than its view takes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The body is larger than {most // 2**20} MiB.", headers=CLOSE)


class TooManyUploads(Unavailable):
    """The process reads as many uploads as it may."""

    def __init__(self) -> None:
        headers = {**CLOSE, "Retry-After": "10"}
        super().__init__("Too many uploads at the moment: try again soon.", headers=headers)


class Upload:
    """One request's body, not read yet."""

    running: ClassVar[int] = 0
    timeouts: ClassVar[set[asyncio.Timeout]] = set()  # of those
    is_over: ClassVar[bool] = False  # as the process is about to end

    def __init__(self, receive: ASGIReceiveCallable) -> None:
        self._receive = receive
        self._is_read = asyncio.Event()
        self._left: ASGIReceiveEvent | None = None  # the client's disconnecting

    @property
    def is_read(self) -> bool:
        """Whether the body was read to its end, so that another request may follow it."""
        return self._is_read.is_set() and self._left is None

    @classmethod
    def end_all(cls) -> None:
        """Read no more of any body: the process is about to end."""
        cls.is_over = True
        for timeout in cls.timeouts:
            if not timeout.expired():
                timeout.reschedule(0)

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """Yield the body.

        Raises `TooLarge` beyond `most` bytes, `RequestTimeout` where it stops coming,
        `Unavailable` while others are read, and `ServerShuttingDown`.
        """
        if Upload.is_over:
            raise ServerShuttingDown(headers=CLOSE)
        if Upload.running >= MAX_UPLOADS:
            raise TooManyUploads
        Upload.running += 1
        size, has_more = 0, True
        try:
            async with asyncio.timeout(UPLOAD_SECONDS) as timeout:
                Upload.timeouts.add(timeout)
                while has_more:
                    async with asyncio.timeout(PIECE_SECONDS):
                        event = await self._receive()
                    if event["type"] != "http.request":
                        self._left = event
                        raise RequestTimeout  # which nobody reads
                    piece, has_more = event.get("body", b""), event.get("more_body", False)
                    size += len(piece)
                    if size > most:
                        raise UploadTooLarge(most)
                    yield piece
        except TimeoutError:
            error = ServerShuttingDown if Upload.is_over else RequestTimeout
            raise error(headers=CLOSE) from None
        finally:
            Upload.running -= 1
            Upload.timeouts.discard(timeout)
            if not has_more or self._left:
                self._is_read.set()

    async def disconnected(self) -> ASGIReceiveEvent:
        """Wait until the client has disconnected, without taking any of the body."""
        await self._is_read.wait()
        if self._left:
            return self._left
        while (event := await self._receive())["type"] == "http.request":
            pass
        return event


def upload_of(request: HttpRequest) -> Upload:
    """Return the body of a request to a path of `UPLOAD_PATHS` in llama_chatbot/exchange.py."""
    upload: Upload = request.scope["upload"]  # type: ignore[attr-defined]
    return upload

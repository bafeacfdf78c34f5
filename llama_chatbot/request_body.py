"""Reads request bodies, bounded in size, in time, and in how many bytes are held at once.

They are read before anything is known of the caller, so the bounds hold for everybody.
"""

import asyncio
from typing import ClassVar

from asgiref.typing import ASGIReceiveCallable

from core.errors import RequestTimeout, ServerShuttingDown, TooLarge, Unavailable

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 30.0  # from the end of the headers to the end of the body
LAST_SECONDS = 0.2  # for what has been sent, once the process is about to end
MAX_HELD_BYTES = 32 * 1024 * 1024  # of all requests that have not begun their responses
CLOSE = {"Connection": "close"}  # the rest of a body would be taken for the next request


class RequestBody:
    """One request's body. Its bytes are counted until it is released.

    Where the process would hold more than `MAX_HELD_BYTES`, the body that has been incomplete for
    longest times out at once: under an attack by stalled bodies that is one of theirs.
    """

    held: ClassVar[int] = 0
    incomplete: ClassVar[dict["RequestBody", asyncio.Timeout]] = {}  # oldest first
    is_ending: ClassVar[bool] = False  # whether the process is about to

    def __init__(self) -> None:
        self._size = 0

    @classmethod
    def end_soon(cls) -> None:
        """Wait for no client that has sent half a body: the process is about to end."""
        cls.is_ending = True
        last = asyncio.get_running_loop().time() + LAST_SECONDS
        for timeout in cls.incomplete.values():
            if not timeout.expired():
                timeout.reschedule(last)

    async def read(self, receive: ASGIReceiveCallable) -> bytes | None:
        """Return the whole body; None where the client has disconnected.

        Raises `TooLarge`, `RequestTimeout`, `Unavailable` and `ServerShuttingDown`.
        """
        chunks: list[bytes] = []
        try:
            seconds = LAST_SECONDS if self.is_ending else BODY_SECONDS
            async with asyncio.timeout(seconds) as timeout:
                self.incomplete[self] = timeout
                while True:
                    event = await receive()
                    if event["type"] != "http.request":
                        return None
                    chunk = event.get("body", b"")
                    chunks.append(chunk)
                    self._hold(len(chunk))
                    if not event.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            error = ServerShuttingDown if self.is_ending else RequestTimeout
            raise error(headers=CLOSE) from None
        finally:
            self.incomplete.pop(self, None)
            chunks.clear()  # the traceback of an error would keep them until the response

    def release(self) -> None:
        """Count the body no longer."""
        RequestBody.held -= self._size
        self._size = 0

    def _hold(self, size: int) -> None:
        self._size += size
        RequestBody.held += size
        if self._size > MAX_BODY_BYTES:
            raise TooLarge(headers=CLOSE)
        while RequestBody.held > MAX_HELD_BYTES:
            oldest = next(body for body in self.incomplete)
            if oldest is self:
                raise Unavailable(headers={**CLOSE, "Retry-After": "1"})
            self.incomplete.pop(oldest).reschedule(0)
            oldest.release()

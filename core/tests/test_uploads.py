"""An upload that is too large, too slow, or one of too many."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from core import uploads
from core.errors import RequestTimeout, TooLarge, Unavailable
from core.uploads import Upload


def upload_of(*pieces: bytes, then: Iterable[dict[str, Any]] = ()) -> Upload:
    """An upload of these pieces, after which something else happens or nothing."""
    events: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    if not then:
        events[-1]["more_body"] = False
    waiting = iter([*events, *then])

    async def receive() -> Any:
        for event in waiting:
            return event
        await asyncio.sleep(60)

    return Upload(receive)


async def read(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_an_upload_is_read_to_its_end() -> None:
    upload = upload_of(b"one", b"", b"two")
    assert not upload.is_read

    assert await read(upload.pieces(6)) == b"onetwo"

    assert upload.is_read


async def test_more_than_is_wanted_is_too_large() -> None:
    upload = upload_of(b"one", b"two")

    with pytest.raises(TooLarge) as error:
        await read(upload.pieces(5))

    assert error.value.headers == {"Connection": "close"}


async def test_an_upload_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PIECE_SECONDS", 0.05)
    upload = upload_of(b"one", then=[{"type": "http.request", "body": b"x", "more_body": True}])

    with pytest.raises(RequestTimeout):
        await read(upload.pieces(100))

    assert Upload.running == 0


async def test_an_upload_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.05)
    upload = upload_of(b"one", then=[{"type": "http.request", "body": b"x", "more_body": True}])

    with pytest.raises(RequestTimeout):
        await read(upload.pieces(100))


async def test_no_more_are_read_at_once_than_a_process_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 1)
    first = upload_of(b"one", b"two").pieces(100)
    assert await anext(first) == b"one"

    with pytest.raises(Unavailable) as error:
        await read(upload_of(b"x").pieces(100))

    assert error.value.headers["Retry-After"] == "10"
    assert await read(first) == b"two"
    assert await read(upload_of(b"x").pieces(100)) == b"x"


async def test_who_waits_for_the_disconnect_takes_nothing_of_the_body() -> None:
    gone = {"type": "http.disconnect"}
    upload = upload_of(b"one", then=[gone])
    waiting = asyncio.create_task(upload.disconnected())
    await asyncio.sleep(0)

    with pytest.raises(RequestTimeout):
        await read(upload.pieces(100))

    assert await waiting == gone
    assert not upload.is_read

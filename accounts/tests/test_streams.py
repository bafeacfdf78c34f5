"""Streams that end with the session or token they began with, in the process itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from accounts import streams
from accounts.models import Session
from accounts.streams import Credential, LoginEnded, Watch

ENDED = Credential(Session, -1)


@pytest.fixture(autouse=True)
def checked_often(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins are checked all the time."""
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.01)


async def test_what_the_end_of_a_login_brings_about_is_told_before_the_stream_ends() -> None:
    async def words() -> AsyncIterator[str]:
        await asyncio.sleep(0.3)  # in which the reply of a deleted user is stopped
        yield "stopped"

    assert [word async for word in Watch().follow(ENDED, words())] == ["stopped"]


async def test_a_stream_that_goes_on_ends_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GRACE_SECONDS", 0.01)

    async def words() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield "never"

    with pytest.raises(LoginEnded):
        await anext(Watch().follow(ENDED, words()))

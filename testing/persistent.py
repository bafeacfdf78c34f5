"""Readers that do not give up: they follow their replies to the end by the retry of `docs/api.md`.

And the long replies that they read, in which nothing can be lost or doubled unseen.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

from testing.people import Caller
from testing.scripted_ollama import Script
from testing.scripted_ollama.script import numbered
from testing.streams import SSE

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds
TOKENS = 400
TOKEN_SECONDS = 1 / 40


def tokens_for(message: str) -> list[str]:
    """Return the reply to a message, in which each token says which it is."""
    return numbered(message, TOKENS)


def long_answer(body: Mapping[str, Any]) -> Script:
    """Return the script for a message."""
    said = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return Script(tokens_for(said[-1]), interval=TOKEN_SECONDS)


class Cut(Exception):
    """The connection has ended, and the reply has not."""


@dataclass
class Reader:
    """One message that is sent, and the reply to it as its reader sees it.

    `servers` are tried in turn; the first gets the message. One that `carries_on` has a reply that
    has failed continued, and sends its message again where nothing of the reply was kept.
    """

    caller: Caller
    thread: int
    message: str
    servers: Sequence[str]
    text: str = ""
    carries_on: bool = False
    ending: str = ""  # the last event and what it said
    is_sent: bool = False
    has_failed: bool = False  # and is to be continued
    failures: list[str] = field(default_factory=list)  # codes of those that were carried on
    rewinds: int = 0
    refusals: list[int] = field(default_factory=list)  # statuses that were healed by a retry
    refused_with: list[str] = field(default_factory=list)  # the bodies of these answers
    cuts: list[tuple[str, float]] = field(default_factory=list)  # of a begun reply: server, when
    news: list[float] = field(default_factory=list)  # when a character came that is new
    _longest: int = 0

    async def read(self, session: aiohttp.ClientSession) -> None:
        """Send the message and read the reply to its end, over as many connections as it takes."""
        pause = FIRST_PAUSE
        for attempt in count():
            server, before = self.servers[attempt % len(self.servers)], self._longest
            try:
                await self._connect(session, server)
            except (aiohttp.ClientError, ConnectionError, TimeoutError, Cut):
                if self._longest > before:
                    self.cuts.append((server, time.monotonic()))
                    pause = FIRST_PAUSE
            if self.ending:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connect(self, session: aiohttp.ClientSession, server: str) -> None:
        url = f"{server}/chat/streaming-response/{self.thread}/"
        headers = {**SSE, "Cookie": self.caller.headers["Cookie"]}
        if self.has_failed:
            # If this call is lost, following tells how the reply is.
            self.has_failed = False
            request = session.post(
                f"{server}/chat/threads/{self.thread}/continue/", headers=headers
            )
        elif self.is_sent:
            offset = {"offset": str(len(self.text))}
            request = session.get(url, params=offset, headers=headers)
        else:
            self.text, headers["Idempotency-Key"] = "", self.message
            request = session.post(url, json={"message": self.message}, headers=headers)
        async with request as response:
            if response.status != 200:
                if response.status == 204 and self.carries_on:
                    self.is_sent = False  # nothing is left of the reply
                else:
                    self.refusals.append(response.status)
                    self.refused_with.append(await response.text())
                raise Cut
            block: dict[str, str] = {}
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    block[name] = value
                elif block.get("event"):
                    self._take(block["event"], json.loads(block["data"]))
                    block = {}
            if not self.ending:
                raise Cut

    def _take(self, event: str, data: dict[str, object]) -> None:
        self.is_sent = True
        if event == "delta":
            self.text += str(data["text"])
            if len(self.text) > self._longest:
                self._longest = len(self.text)
                self.news.append(time.monotonic())
        elif event == "rewind":
            self.text = self.text[: int(str(data["offset"]))]
            self.rewinds += 1
        elif event == "error" and self.carries_on:
            self.failures.append(str(data["code"]))
            self.has_failed = self.is_sent = bool(data["reply_kept"])
            raise Cut
        elif event in ("end", "error"):
            self.ending = f"{event} {data.get('status') or data.get('code')}"


async def read_all(readers: Sequence[Reader], seconds: float) -> None:
    """Have all readers send their messages within some seconds, and read on to the end.

    One that is stuck has no ending a minute later.
    """

    async def begin(number: int, reader: Reader) -> None:
        await asyncio.sleep(number * seconds / len(readers))
        await reader.read(session)

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=20)
    with suppress(TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            asyncio.timeout(seconds + 60),
            asyncio.TaskGroup() as group,
        ):
            for number, reader in enumerate(readers):
                group.create_task(begin(number, reader))


def assert_whole(readers: Sequence[Reader]) -> None:
    """Assert that each reader has the whole text, no character lost or doubled."""
    for reader in readers:
        whole = "".join(tokens_for(reader.message))
        assert (reader.ending, reader.text) == ("end complete", whole)

"""A reader that does not give up: it follows its reply to the end by the retry of `docs/api.md`."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp

from testing.people import Caller
from testing.streams import SSE

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds


class Cut(Exception):
    """The connection has ended, and the reply has not."""


@dataclass
class Reader:
    """One message that is sent, and the reply to it as its reader sees it.

    `servers` are tried in turn; the first gets the message.
    """

    caller: Caller
    thread: int
    message: str
    servers: Sequence[str]
    text: str = ""
    ending: str = ""  # the last event and what it said
    is_sent: bool = False
    rewinds: int = 0
    refusals: list[int] = field(default_factory=list)  # statuses that were healed by a retry
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
        if self.is_sent:
            offset = {"offset": str(len(self.text))}
            request = session.get(url, params=offset, headers=headers)
        else:
            headers["Idempotency-Key"] = self.message
            request = session.post(url, json={"message": self.message}, headers=headers)
        async with request as response:
            if response.status != 200:
                self.refusals.append(response.status)
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
        elif event in ("end", "error"):
            self.ending = f"{event} {data.get('status') or data.get('code')}"

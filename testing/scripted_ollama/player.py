"""Plays a script on a connection: the tokens at their times, then the end that the script wants."""

import asyncio

from aiohttp import web

from testing.scripted_ollama import wire
from testing.scripted_ollama.script import ChatSeen, Ending, Script, to_json


class Awake:
    """Whether the server answers anything at all; belongs to its event loop."""

    def __init__(self) -> None:
        self.is_hanging = False
        self._awake = asyncio.Event()
        self._awake.set()

    def set_hanging(self, hanging: bool) -> None:
        """Hang from now on, or go on."""
        self.is_hanging = hanging
        (self._awake.clear if hanging else self._awake.set)()

    async def wait(self) -> None:
        """Wait until it answers."""
        await self._awake.wait()


class Player:
    """The answer to one call."""

    def __init__(
        self,
        request: web.Request,
        chat: ChatSeen,
        script: Script,
        awake: Awake,
        durations: wire.Durations,
    ) -> None:
        self.request = request
        self.chat = chat
        self.script = script
        self.awake = awake
        self.durations = durations
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.response: web.StreamResponse | None = None
        begin = f'{{"model":{to_json(chat.body["model"])},"created_at":"{wire.now()}",'
        if chat.path == wire.GENERATE:
            self.before, self.after = f'{begin}"response":', ',"done":false}\n'
        else:
            self.before = f'{begin}"message":{{"role":"assistant","content":'
            self.after = '},"done":false}\n'

    @property
    def ending(self) -> Ending:
        """How the chat ends once it was played."""
        return "complete" if self.script.then == "done" else "script"

    async def send_tokens(self) -> None:
        """Send the tokens at their times, or when not streamed, let the time pass."""
        script = self.script
        first, due = len(script.thinking), self.loop.time()
        for index, token in enumerate([*script.thinking, *script.tokens]):
            if index - first == script.hold_after:
                await self._hold()
                due = self.loop.time()
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            if self.awake.is_hanging:  # spares a call per token
                await self.awake.wait()
            due += script.interval
            if index < first:
                line = f'{self.before}"","thinking":{to_json(token)}{self.after}'
            else:
                line = f"{self.before}{to_json(token)}{self.after}"
                self.chat.tokens_sent += 1
            if self.chat.streams:
                await self._write(line)
        if script.hold_after == len(script.tokens):
            await self._hold()
        await self.awake.wait()

    async def send_tokens_cheaply(self) -> None:
        """Send the tokens by timers alone, with no task step a token: for benchmarks."""
        self.response = await wire.start_ndjson(self.request)
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError
        lines = {
            token: f"{self.before}{to_json(token)}{self.after}" for token in set(self.script.tokens)
        }
        by_token = {token: wire.chunk(line.encode()) for token, line in lines.items()}
        chunks = [by_token[token] for token in self.script.tokens]
        sent = 0
        started = self.loop.time()
        finished = self.loop.create_future()

        def tick() -> None:
            nonlocal sent
            if finished.done():
                return  # cancelled: the reader left
            if sent == len(chunks):
                finished.set_result(None)
                return
            transport.write(chunks[sent])
            sent += 1
            due = started + min(sent, len(chunks) - 1) * self.script.interval
            self.loop.call_at(due, tick)

        tick()
        await finished

    async def break_off(self) -> None:
        """Die or hang, as the script wants; returns only where it wants neither."""
        then = self.script.then
        if then in ("hang", "die", "reset") and self.chat.streams:
            await self._write("")
        if then in ("die", "reset"):
            wire.cut(self.request, reset=then == "reset")
        if then in ("hang", "silence", "die", "reset"):
            await asyncio.Event().wait()  # until the connection's end cancels this

    async def send_end(self) -> web.StreamResponse:
        """Send what follows the tokens."""
        if self.script.then == "error" and not self.chat.streams:
            return wire.error(500, self.script.error)
        self.durations.writing = self.loop.time() - self.began
        text = wire.last_line(self.chat, self.script, self.durations)
        if not self.chat.streams:
            return web.Response(text=text, content_type="application/json")
        return await self._write(text)

    async def _write(self, text: str) -> web.StreamResponse:
        if self.response is None:
            self.response = await wire.start_ndjson(self.request)
        await self.response.write(text.encode("utf-8", "backslashreplace"))  # as JSON escapes
        return self.response

    async def _hold(self) -> None:
        self.chat.held = True
        await self.chat.gate.wait()
        self.chat.held = False

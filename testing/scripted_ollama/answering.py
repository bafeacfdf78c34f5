"""The routes that have a model write: /api/chat, and /api/generate with a raw prompt."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from testing.scripted_ollama import templates, wire
from testing.scripted_ollama.loading import Busy, Runner
from testing.scripted_ollama.player import Player
from testing.scripted_ollama.script import ChatSeen, ModelInfo, Script, tokenize
from testing.scripted_ollama.wire import full_name

if TYPE_CHECKING:
    from testing.scripted_ollama.server import ScriptedOllama

BUSY = "server busy, please try again.  maximum pending requests exceeded"


class Answering:
    """The handlers of these routes."""

    def __init__(self, ollama: "ScriptedOllama") -> None:
        self._ollama = ollama

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_post(wire.CHAT, self._answer)
        app.router.add_post(wire.GENERATE, self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError as error:
            return wire.error(400, str(error))
        name = str(body.get("model") or "")
        model = self._ollama.models.get(full_name(name))
        chat = ChatSeen(request.path, body, request.headers)
        if model and self._ollama.renders and body.get("_debug_render_only"):
            async with self._runner(full_name(name), model, chat):  # which is loaded for it
                return self._render(model, body)
        async with self._ollama.serving(chat):
            if model is None or (refusal := model.refusal(name, body)):
                self._ollama.end(chat, "refused")
                return wire.missing(name) if model is None else wire.error(400, refusal)
            self._read_prompt(chat, model)
            began = time.monotonic()
            try:
                async with self._runner(full_name(name), model, chat) as runner:
                    loading = time.monotonic() - began
                    return await self._run(request, chat, model, runner, loading)
            except Busy:
                self._ollama.end(chat, "refused")
                return wire.error(503, BUSY)

    def _render(self, model: ModelInfo, body: dict[str, object]) -> web.Response:
        """Answer with the prompt alone, as "_debug_render_only" asks for."""
        self._ollama.renders_seen.append(body)
        messages = body.get("messages")
        prompt = templates.render(
            model.template,
            messages if isinstance(messages, list) else [],
            closes_thoughts="thinking" in model.capabilities and body.get("think") is False,
        )
        info = {"rendered_template": prompt}
        chat = ChatSeen(wire.CHAT, {"model": body["model"]}, {})
        return web.json_response(wire.record(chat) | {"_debug_info": info})

    def _read_prompt(self, chat: ChatSeen, model: ModelInfo) -> None:
        """Note the messages of a call, and the text of the reply that it wants carried on."""
        if chat.path == wire.GENERATE:
            prompt = str(chat.body.get("prompt") or "")
            chat.messages, chat.continues = templates.parse(model.template, prompt)
            return
        chat.messages = list(chat.body.get("messages") or [])
        open_at_the_end = model.template in ("llama3", "native")
        if open_at_the_end and chat.messages and chat.messages[-1]["role"] == "assistant":
            chat.continues = chat.messages.pop().get("content") or ""

    @asynccontextmanager
    async def _runner(self, name: str, model: ModelInfo, chat: ChatSeen) -> AsyncIterator[Runner]:
        loader = self._ollama.loader
        runner = await loader.acquire(name, model.context_length, chat.body)
        try:
            yield runner
        finally:
            loader.release(runner)

    async def _run(
        self,
        request: web.Request,
        chat: ChatSeen,
        model: ModelInfo,
        runner: Runner,
        loading: float,
    ) -> web.StreamResponse:
        ollama = self._ollama
        if not chat.body.get("messages") and not chat.body.get("prompt"):
            ollama.end(chat, "complete")
            return web.json_response(wire.record(chat, done=True, done_reason="load"))
        if chat.body.get("truncate") is not False:
            drop_oldest(chat, runner.window)
        if chat.prompt_tokens >= runner.window:
            ollama.end(chat, "refused")
            return wire.too_long(chat.prompt_tokens, runner.window)

        script = self._script(chat, model, runner)
        await asyncio.sleep(script.first_token_after)
        await ollama.awake.wait()
        if script.status >= 400:
            ollama.end(chat, "script")
            return wire.error(script.status, script.error)

        durations = wire.Durations(loading)
        if not ollama.is_benchmark:
            prompt = chat.prompt
            durations.cached_tokens = runner.read(prompt)
            reply = {"role": "assistant", "content": "".join(script.tokens)}
            runner.write(prompt, tokenize([reply]))
        player = Player(request, chat, script, ollama.awake, durations)
        if ollama.is_benchmark and chat.streams:
            await player.send_tokens_cheaply()
        else:
            await player.send_tokens()
        if script.then in ("die", "reset"):
            ollama.end(chat, "script")
        await player.break_off()
        ollama.end(chat, player.ending)
        return await player.send_end()

    def _script(self, chat: ChatSeen, model: ModelInfo, runner: Runner) -> Script:
        """Return what this call gets: the test's script, within the call's limits."""
        ollama = self._ollama
        script = ollama.scripts.popleft() if ollama.scripts else ollama.script
        if callable(script):
            script = script({**chat.body, "messages": chat.messages})
        if "thinking" not in model.capabilities or chat.body.get("think") is False:
            script = replace(script, thinking=())
        if chat.continues:
            script = script.beyond(chat.continues)
            if chat.path == wire.CHAT and model.template == "native":
                script = replace(script, tokens=[chat.continues, *script.tokens])
        wanted = chat.options.get("num_predict") or -1
        room = runner.window - chat.prompt_tokens
        limits = [wanted] if wanted > 0 else []
        if chat.body.get("shift") is False:
            limits.append(room)
        script = script.limited(min(limits, default=None), chat.options.get("stop") or ())
        if script.prompt_tokens is None:
            script = replace(script, prompt_tokens=chat.prompt_tokens)
        return script


def drop_oldest(chat: ChatSeen, window: int) -> None:
    """Leave out the oldest messages as Ollama does: those of the system and the last one stay."""
    rest = [message for message in chat.messages if message.get("role") != "system"]
    while len(rest) > 1 and chat.prompt_tokens >= window:
        chat.messages.remove(rest.pop(0))

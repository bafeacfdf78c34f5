"""Continues a reply from its last character, for which Ollama has no call.

Ollama renders the prompt of a chat without answering (`_debug_render_only`), and writes after any
prompt (`/api/generate` with `raw`). So the prompt, with what was written of the reply after it, is
continued from the very character, whatever the model's template, and its cache still holds it.

An Ollama that does not know the field answers as usual; it is asked for one token only, and not
again until its version changes. Then a chat that ends with the reply so far is continued by models
whose template leaves the last message open. llama.cpp, which runs a model's own template, may leave
it open, too, and repeat it in the answer: that is tried out, since only where it is known to do so
may a beginning like the reply's be taken off. In doubt a model cannot.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from chat.ollama import calls, client, transport
from chat.ollama.calls import call
from chat.ollama.client import ChatMessage, OnPart, Stats
from chat.ollama.errors import CannotContinue

# What ends a rendered prompt where the model would think, or choose a channel, before its answer;
# and what takes the prompt on to the answer's text.
BEFORE_AN_ANSWER = (
    (re.compile(r"<\|start\|>assistant\Z"), "<|channel|>final<|message|>"),  # gpt-oss
    (re.compile(r"<think>\s*\Z"), "\n</think>\n\n"),
    (re.compile(r"<seed:think>\s*\Z"), "\n</seed:think>"),
    (re.compile(r"<\|START_THINKING\|>\s*\Z"), "<|END_THINKING|><|START_TEXT|>"),  # Command A
)
QUESTION: Sequence[ChatMessage] = (ChatMessage(role="user", content="1"),)
BEGINNING = "vn4 llamas, 71 alpacas"  # which no model writes in one token

_without_rendering: dict[str, str] = {}  # hosts that do not know the field, with their versions
_can_render: dict[tuple[str, str], bool] = {}  # by host and model
_repeats: dict[tuple[str, str, str], bool] = {}  # by host, its version, and model


async def can_continue(model: str) -> bool:
    """Return whether `model` can continue a reply, as far as is known. Raises `ModelError`."""
    window = await client.window(model)

    async def can_render(host: str) -> bool:
        if not _can_render.get((host, model)):
            prompt = await render(host, model, QUESTION, {"num_ctx": window})
            _can_render[host, model] = prompt is not None
        return _can_render[host, model]

    async def can_repeat(host: str) -> bool:
        return await repeats_reply(host, model, window)

    return (
        await client.at_any(model, can_render)
        or await leaves_reply_open(model)
        or await client.at_any(model, can_repeat)
    )


async def continue_chat(
    host: str,
    model: str,
    messages: Sequence[ChatMessage],
    written: str,
    options: dict[str, Any],
    on_part: OnPart,
) -> Stats:
    """Have `model` continue a reply of which `written` exists; return what Ollama reports.

    As `client.chat`; `on_part` gets what is new, and no thinking. `written` is the text as it
    would stand in a later prompt, and part of the prompt's count. Raises `CannotContinue`, and
    `ModelError`: `PromptTooLong` where the reply has filled the window.
    """
    prompt = await render(host, model, messages, options)
    if prompt is not None:
        request = transport.client(host).generate(
            model, prompt + written, raw=True, think=False, options=options, stream=True
        )
        return await client.relay(
            host, model, options, request, lambda part: (part.response, part.thinking), on_part
        )
    open_messages = [*messages, ChatMessage(role="assistant", content=written)]
    if await leaves_reply_open(model):
        return await client.chat(host, model, open_messages, options, on_part, think=False)
    if not await repeats_reply(host, model, options["num_ctx"]):
        raise CannotContinue
    rest = WithoutPrefix(written, on_part)
    stats = await client.chat(host, model, open_messages, options, rest.add, think=False)
    rest.end()
    return stats


async def render(
    host: str, model: str, messages: Sequence[ChatMessage], options: dict[str, Any]
) -> str | None:
    """Return the prompt of a chat up to where the text of its answer begins.

    None where Ollama does not know how to. The model is loaded with `options`. Raises `ModelError`.
    """
    if host in _without_rendering and _without_rendering[host] == await calls.version(host):
        return None
    body = {
        "model": model,
        "messages": messages,
        "think": False,
        "truncate": False,
        "shift": False,
        "options": {**options, "num_predict": 1},
    }
    await calls.health_of(host).check(model)
    async with (
        call(host, model, options.get("num_ctx", 0)),
        asyncio.timeout(settings.OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS),
    ):
        prompt = await transport.client(host).render(body)
    if prompt is None:
        _without_rendering[host] = await calls.version(host)
        return None
    for ending, rest in BEFORE_AN_ANSWER:
        if ending.search(prompt):
            return prompt + rest
    return prompt


async def leaves_reply_open(model: str) -> bool:
    """Return whether a model's template leaves the last message open, if it is the assistant's.

    Ollama itself leaves it open in templates that have no messages but one turn. Others say it by
    a condition on the last message before the mark that ends one. Raises `ModelError`.
    """
    details = await client.details(model)
    template = details.template
    if details.has_renderer or is_native(template):
        return False
    if ".Messages" not in template:
        return True
    return bool(re.search(r"\.Content.*?\{\{-?\s*if\s+\(?not\s+\$last\b", template, re.DOTALL))


def is_native(template: str) -> bool:
    """Return whether a model's template is its own, in Jinja, and none of Ollama's."""
    return not template or "{%" in template


async def repeats_reply(host: str, model: str, window: int) -> bool:
    """Return whether `model` goes on with a reply at a host by repeating what there is of it.

    Asked once, of models with a native template. Raises `ModelError`.
    """
    details = await client.details(model)
    if details.has_renderer or not is_native(details.template):
        return False
    known = host, await calls.version(host), model
    if known not in _repeats:
        pieces: list[str] = []
        messages = [*QUESTION, ChatMessage(role="assistant", content=BEGINNING)]
        await client.chat(
            host,
            model,
            messages,
            {"num_ctx": window, "num_predict": 1},
            lambda text, thinking: pieces.append(text),
            think=False,
        )
        _repeats[known] = "".join(pieces).startswith(BEGINNING)
    return _repeats[known]


class WithoutPrefix:
    """Passes on what an answer has beyond `written`, which it is known to repeat first.

    Raises `CannotContinue` for an answer that does not repeat it: that is another one.
    """

    def __init__(self, written: str, on_part: OnPart) -> None:
        self._written = written
        self._on_part = on_part
        self._held = ""  # of the answer, as long as it is a repetition
        self._is_beyond = False

    def add(self, text: str, thinking: str) -> None:
        """Take a piece of the answer."""
        if not self._is_beyond:
            self._held += text
            self._is_beyond = self._held.startswith(self._written)
            if not self._is_beyond and not self._written.startswith(self._held):
                raise CannotContinue
            text = self._held.removeprefix(self._written) if self._is_beyond else ""
        if text:
            self._on_part(text, "")

    def end(self) -> None:
        """Take the end of the answer."""
        if not self._is_beyond:
            raise CannotContinue

"""What a test tells the scripted Ollama to do, and what it reads of the chats that came."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from testing.scripted_ollama.templates import Template

Then = Literal["done", "no_done", "error", "garbage", "die", "reset", "hang", "silence"]
Ending = Literal["complete", "script", "refused", "disconnect", "stopped", "crash"]

WORDS = re.compile(r"\w+|[^\w\s]")

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Script:
    """One answer. Times are in seconds, counts in tokens.

    `then` is what follows the last token: ``done`` (the end record), ``no_done`` (the body ends
    properly without one), ``error`` (a line with an error), ``garbage`` (a line that is not JSON),
    ``die`` (the connection closes in the middle, as when the process is killed), ``reset`` (the
    same with a TCP reset), ``hang`` (headers, the tokens and then nothing), ``silence`` (not even
    headers). "Dies after two tokens" is a script of two tokens.

    A call that carries a reply on gets what its tokens have beyond that reply's text, from the very
    character; it passes a hold that the text has reached.
    """

    tokens: Sequence[str] = ()
    then: Then = "done"
    thinking: Sequence[str] = ()  # sent first, unless the request says "think": false
    first_token_after: float = 0.0
    interval: float = 0.0
    hold_after: int | None = None  # content tokens to send before waiting for release()
    status: int = 200  # from 400 up: an HTTP error with `error`, and no tokens
    error: str = "an error was encountered while running the model"
    done_reason: str = "stop"
    prompt_tokens: int | None = None  # default: count_tokens() of the messages
    completion_tokens: int | None = None  # default: len(thinking) + len(tokens)

    def beyond(self, text: str) -> "Script":
        """Return what carries a text on; a text that is not this script's begins anew."""
        whole = "".join(self.tokens)
        if not text or not whole.startswith(text):
            return self
        rest, before, position = [], 0, 0
        for token in self.tokens:
            position += len(token)
            if position > len(text):
                rest.append(token[max(0, len(token) - (position - len(text))) :])
            else:
                before += 1
        hold = self.hold_after
        hold = None if hold is None or hold <= before else hold - before
        return replace(self, tokens=rest, thinking=(), hold_after=hold)

    def limited(self, tokens: int | None, stop: Sequence[str]) -> "Script":
        """Return it as the model writes it: cut after `tokens`, and before a stop text."""
        text = "".join(self.tokens)
        kept, reason = list(self.tokens), ""
        if ends := [text.index(mark) for mark in stop if mark in text]:
            kept, reason = tokens_until(kept, min(ends)), "stop"
        if tokens is not None and len(self.thinking) + len(kept) > tokens:
            kept, reason = kept[: max(0, tokens - len(self.thinking))], "length"
        if not reason:
            return self
        thinking = self.thinking[:tokens]
        return replace(self, tokens=kept, thinking=thinking, done_reason=reason, then="done")


@dataclass(frozen=True)
class ModelInfo:
    """A model that the scripted Ollama has.

    What is not among the capabilities is refused: "thinking", "tools", "vision".
    """

    context_length: int = 8192
    capabilities: tuple[str, ...] = ("completion",)
    architecture: str = "llama"
    size: int = 2_019_393_189
    template: Template = "chatml"

    def refusal(self, name: str, body: Mapping[str, Any]) -> str:
        """Return why it does not answer this call, or nothing."""
        if "completion" not in self.capabilities:
            return f'"{name}" does not support chat'
        if body.get("think") and "thinking" not in self.capabilities:
            return f'"{name}" does not support thinking'
        if body.get("tools") and "tools" not in self.capabilities:
            return f"registry.ollama.ai/library/{name} does not support tools"
        images = any(message.get("images") for message in body.get("messages") or ())
        if images and "vision" not in self.capabilities:
            return to_json({"error": {"code": 400, "message": "image input is not supported"}})
        return ""

    def details(self) -> dict[str, Any]:
        """Return the `details` of /api/tags, /api/show and /api/ps."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.architecture,
            "families": [self.architecture],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }


@dataclass(eq=False)
class ChatSeen:
    """A call that had the model write, as the scripted Ollama saw it.

    `messages` and `continues`, the text of a reply to carry on, are read out of the prompt of
    /api/generate. Times are of `time.monotonic()`.
    """

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    ended_by: Ending | None = None
    tokens_sent: int = 0  # content tokens
    held: bool = False  # waiting for release()
    messages: list[dict[str, Any]] = field(default_factory=list)
    continues: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the request, empty when it had none."""
        return dict(self.body.get("options") or {})

    @property
    def streams(self) -> bool:
        """Whether it wants its answer token by token."""
        return self.body.get("stream") is not False

    @property
    def prompt_tokens(self) -> int:
        """What the prompt counts, before Ollama would cut it to the context window."""
        return len(self.prompt)

    @property
    def prompt(self) -> list[str]:
        """The tokens of the prompt."""
        prompt = tokenize(self.messages)
        if self.continues:
            prompt += [*tokenize([{"role": "assistant", "content": self.continues}])[:-2]]
        return prompt


def tokenize(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the tokens of messages: words and punctuation marks, and 4 around each message."""
    tokens: list[str] = []
    for message in messages:
        around = f"<{message.get('role')}>"
        tokens += [around, around, *WORDS.findall(message.get("content") or ""), around, around]
    return tokens


def count_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return how many tokens messages have."""
    return len(tokenize(messages))


def tokens_of(text: str) -> list[str]:
    """Return a text in word-sized tokens that give it back when joined."""
    return re.findall(r"\s*\S+|\s+$", text)


def tokens_until(tokens: Sequence[str], length: int) -> list[str]:
    """Return tokens up to a number of characters, the last one cut."""
    kept = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token[:length])
        length -= len(token)
    return kept


def echo(body: Mapping[str, Any]) -> Script:
    """Return the default answer: "You said: <last user message>"."""
    said = [m.get("content") or "" for m in body.get("messages") or [] if m.get("role") == "user"]
    return Script(tokens_of(f"You said: {said[-1] if said else ''}"))


def numbered(message: str, tokens: int) -> list[str]:
    """Return the tokens of a reply to a message: each says which it is."""
    return [f"{message}:", *(f" {number}é🦙" for number in range(1, tokens))]

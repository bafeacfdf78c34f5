"""What a test tells the scripted Ollama to do, and what it reads of the chats that came."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Then = Literal["done", "no_done", "error", "garbage", "die", "reset", "hang", "silence"]
Ending = Literal["complete", "script", "refused", "disconnect", "stopped", "crash"]


@dataclass(frozen=True)
class Script:
    """One chat's answer. Times are in seconds, counts in tokens.

    `then` is what follows the last token: ``done`` (the end record), ``no_done`` (the body ends
    properly without one), ``error`` (a line with an error), ``garbage`` (a line that is not JSON),
    ``die`` (the connection closes in the middle, as when the process is killed), ``reset`` (the
    same with a TCP reset), ``hang`` (headers, the tokens and then nothing), ``silence`` (not even
    headers). "Dies after two tokens" is a script of two tokens.
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
    prompt_tokens: int | None = None  # default: count_tokens() of the messages, cut to num_ctx
    completion_tokens: int | None = None  # default: len(thinking) + len(tokens)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the scripted Ollama has; "thinking" among the capabilities lets it think."""

    context_length: int = 8192
    capabilities: tuple[str, ...] = ("completion",)
    architecture: str = "llama"
    size: int = 2_019_393_189

    def refusal(self, name: str, body: Mapping[str, Any]) -> str:
        """Return why it does not answer this chat, or nothing."""
        if "completion" not in self.capabilities:
            return f'"{name}" does not support chat'
        if body.get("think") and "thinking" not in self.capabilities:
            return f'"{name}" does not support thinking'
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
    """A chat request as the scripted Ollama saw it; times are of `time.monotonic()`."""

    body: dict[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    ended_by: Ending | None = None
    tokens_sent: int = 0  # content tokens
    held: bool = False  # waiting for release()
    gate: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        return list(self.body.get("messages") or [])

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
        """What the messages count, before Ollama would cut them to the context window."""
        return count_tokens(self.messages)


def count_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return what the scripted tokenizer counts: words and punctuation marks, and 4 a message."""
    return sum(4 + len(re.findall(r"\w+|[^\w\s]", m.get("content") or "")) for m in messages)


def tokens_of(text: str) -> list[str]:
    """Return a text in word-sized tokens that give it back when joined."""
    return re.findall(r"\s*\S+|\s+$", text)


def echo(body: Mapping[str, Any]) -> Script:
    """Return the default answer: "You said: <last user message>"."""
    said = [m.get("content") or "" for m in body.get("messages") or [] if m.get("role") == "user"]
    return Script(tokens_of(f"You said: {said[-1] if said else ''}"))

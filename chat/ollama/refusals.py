r"""Reads Ollama's error answers, and says what each means to the user.

Where Ollama's runner refuses, Ollama puts the runner's JSON into its own, as a text; sometimes a
line of the runner's log follows it:

{"error": "{\"error\": {\"message\": \"request (910 tokens) exceeds…\", \"n_ctx\": 512}}"}
"""

import json
import logging
import re
from textwrap import shorten
from typing import Any, NamedTuple

from chat.ollama.errors import (
    ModelBusy,
    ModelError,
    ModelMissing,
    ModelUnavailable,
    PromptTooLong,
)

MAX_REASON_LENGTH = 200  # characters
MAX_NESTING = 4
MARKUP = re.compile(r"[{}<>]")

# Several versions' words: Ollama's own, those of its former runner, and llama-server's.
TOO_LONG = re.compile(r"(exceeds|longer than|too (large|long) for) (the )?(\w+ )?context", re.I)
BUSY = re.compile(r"server busy|maximum pending requests", re.IGNORECASE)
DIED = re.compile(
    r"unexpected EOF|unexpectedly stopped|has terminated|no longer running|forcibly closed"
    r"|connection (refused|reset)|broken pipe|error was encountered while running",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """What an error answer says; the numbers of tokens are known of some prompts too long."""

    reason: str
    prompt_tokens: int | None = None
    window: int | None = None


def model_error(status: int, answer: object, model: str = "") -> ModelError:
    """Return the error for an answer of Ollama's: its HTTP status, and its `error`."""
    refusal = read(answer)
    reason = refusal.reason
    if status == 404 and model:
        return ModelMissing(model)
    if TOO_LONG.search(reason):
        return PromptTooLong(refusal.prompt_tokens, refusal.window)
    logger.warning("Ollama answered with an error (%s): %s", status, reason)
    if BUSY.search(reason):
        return ModelBusy()
    # A page of a proxy's, and whatever else was not written for people, is for the log only.
    if DIED.search(reason) or not reason or MARKUP.search(reason):
        return ModelUnavailable()
    return ModelUnavailable(f"The model server refused: {reason}")


def read(answer: object) -> Refusal:
    """Return what an `error` says, however deep its JSON is nested."""
    prompt_tokens = window = None
    for _ in range(MAX_NESTING):
        if isinstance(answer, str) and answer.lstrip().startswith("{"):
            answer = parse_beginning(answer.lstrip())
        if not isinstance(answer, dict):
            break
        prompt_tokens = number(answer.get("n_prompt_tokens")) or prompt_tokens
        window = number(answer.get("n_ctx")) or window
        answer = answer.get("error") or answer.get("message") or ""
    reason = answer if isinstance(answer, str) else ""
    return Refusal(shorten(reason, MAX_REASON_LENGTH, placeholder="…"), prompt_tokens, window)


def parse_beginning(text: str) -> Any:
    """Return the JSON with which a text begins, or the text."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return text


def number(value: object) -> int | None:
    """Return a number of tokens, or None."""
    return value if isinstance(value, int) and value > 0 else None

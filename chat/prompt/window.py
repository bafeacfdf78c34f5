"""What the model sees of a thread: the system prompt, then whole turns from a starting point on.

Left to itself, Ollama silently cuts a prompt that is too long, so what is sent must be known to
fit. Only the model's own tokenizer knows how many tokens a text has, and Ollama reports the count
of each prompt after the reply. So what was sent before is measured by the counts of the thread's
earlier replies, and only what is new is estimated: high at first, and where that does not fit, by
the counts of earlier texts in the same script.

The starting point stays until the conversation outgrows the window; then it moves until half of
the window is free. In between, each prompt begins with the one before it, which is what llama.cpp's
prompt cache needs to skip it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import ceil
from typing import Any

from django.conf import settings

from chat.models import Message, Thread
from chat.ollama.client import ChatMessage
from chat.prompt.estimate import estimate, script_of
from chat.prompt.marks import neutralize_markup
from chat.prompt.turns import Turn, correction, turn_sizes, turns_of
from core.errors import ApiError

# What the model's template adds once, as a careful guess: Llama's tells the date, SmolLM's has a
# system prompt of its own.
TOKENS_OF_A_TEMPLATE = 32


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one reply.

    `start` is the id of the first message after the system prompt, None where that is the new one.
    `tokens` is the size of the prompt: estimated for what no reply has counted yet. It fits in
    `num_ctx`, the thread's window; `model_window` is the one for which Ollama loads the model.
    """

    messages: list[ChatMessage]
    start: int | None
    num_ctx: int
    model_window: int
    tokens: int
    turns_kept: int
    turns_dropped: int


def plan(thread: Thread, path: Sequence[Message], text: str, window: int) -> Prompt:
    """Return the prompt for `text`, sent after the messages of `path`.

    `window` is the model's context length in tokens, as far as this server allows it. Raises
    `ApiError` where `text` alone does not fit.
    """
    num_ctx, budget = limits(thread, window)
    asked = ChatMessage(role="user", content=neutralize_markup(text))
    new = estimate(asked["content"])
    kept = turns_since_start(path, thread, num_ctx)
    before = tokens_before(kept, thread, num_ctx)
    if before + new > budget:
        new = ceil(new * correction(kept, thread.model, script_of(text)))
    require_fit(thread, new, window)

    tokens = before + new
    if tokens > budget:
        sizes = turn_sizes(kept, thread.model)
        least = front_size(thread) + new
        # Where a long answer takes half of the window, there must be room to grow all the same;
        # where a long message does, the turns keep half of what it leaves.
        goal = max(min(num_ctx // 2, budget * 2 // 3), (least + budget) // 2)
        tokens = least + sum(sizes)
        while tokens > goal:
            tokens -= sizes.pop(0)
            del kept[0]

    system = neutralize_markup(thread.effective_system_prompt)
    messages = [ChatMessage(role="system", content=system)] if system.strip() else []
    for turn in kept:
        messages += turn.messages()
    messages.append(asked)
    return Prompt(
        messages,
        start=kept[0].question.pk if kept else None,
        num_ctx=num_ctx,
        model_window=window,
        tokens=tokens,
        turns_kept=len(kept),
        turns_dropped=len(turns_of(path)) - len(kept),
    )


def options_for(thread: Thread, prompt: Prompt) -> dict[str, Any]:
    """Return the options of the call that sends a thread's prompt.

    Ollama loads a model anew for another `num_ctx`, so all calls have the model's: the thread's
    bounds its prompts only. A reply that the thread does not limit may have
    `CHAT_REPLY_TOKENS_MAX` tokens, or as many as there is room for.
    """
    room = max(1, prompt.model_window - prompt.tokens)
    limit = min(settings.CHAT_REPLY_TOKENS_MAX, room)
    return {"num_predict": limit, **thread.options, "num_ctx": prompt.model_window}


def limits(thread: Thread, window: int) -> tuple[int, int]:
    """Return the tokens of the thread's window, and how many of them the prompt may take."""
    num_ctx = min(thread.options.get("num_ctx", window), window)
    return num_ctx, num_ctx - room_for_answer(thread, num_ctx)


def room_for_answer(thread: Thread, num_ctx: int) -> int:
    """Return how many tokens of the window are kept free for the answer."""
    wanted: int | None = thread.options.get("num_predict")
    # At least as much as the estimate of a rare text may be wrong by.
    return num_ctx // 4 if wanted is None else min(max(wanted, num_ctx // 10), num_ctx // 2)


def require_fit(thread: Thread, size: int, window: int) -> None:
    """Raise `ApiError` unless a message of `size` tokens fits beside system prompt and answer."""
    num_ctx, budget = limits(thread, window)
    front = front_size(thread)
    if front > budget:
        raise ApiError(
            f"The thread's system prompt is about {front - budget} tokens too long for the model's "
            f"window of {num_ctx}: no message fits beside it."
        )
    excess = front + size - budget
    if excess <= 0:
        return
    problem = (
        f"With the system prompt and room for an answer, the message is about {excess} tokens too "
        f"long for the model's window of {num_ctx}."
    )
    raise ApiError(problem, fields={"message": [problem]})


def turns_since_start(path: Sequence[Message], thread: Thread, num_ctx: int) -> list[Turn]:
    """Return the turns from the starting point of the last reply on.

    All of them, where the front of that reply's prompt has changed.
    """
    turns = turns_of(path)
    start = path[-1].context_start if path else None
    if start is None or path[-1].context_key != front_key(thread, start, num_ctx):
        return turns
    return [turn for turn in turns if turn.question.pk >= start]


def front_key(thread: Thread, start: int, num_ctx: int) -> str:
    """Return a name for the front of a prompt, from the model to its first message.

    Only under the same name do counts compare, and does the model's cache hold.
    """
    front = repr((thread.model, thread.effective_system_prompt, start, num_ctx))
    return sha256(front.encode()).hexdigest()[:16]


def front_size(thread: Thread) -> int:
    """Return an estimate of the tokens before the first message."""
    return TOKENS_OF_A_TEMPLATE + size_of_system_prompt(thread.effective_system_prompt)


@lru_cache(maxsize=100)
def size_of_system_prompt(text: str) -> int:
    """Return `estimate` of a system prompt, which most threads share."""
    return estimate(neutralize_markup(text))


def tokens_before(kept: Sequence[Turn], thread: Thread, num_ctx: int) -> int:
    """Return the tokens of the system prompt and these turns, by the last count of them."""
    sizes = turn_sizes(kept, thread.model)
    key = front_key(thread, kept[0].question.pk, num_ctx) if kept else ""
    size, last_total = front_size(thread), 0
    for turn, turn_size in zip(kept, sizes, strict=True):
        size += turn_size
        total = turn.tokens_so_far
        # A prompt only grows. Where Ollama had to cut it, or does not count what it had cached
        # (as old versions do not), its count is lower.
        if total is not None and total > last_total and turn.reply.context_key == key:
            size = last_total = total
    return size

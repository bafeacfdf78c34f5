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
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from math import ceil
from typing import Any

from django.conf import settings

from chat.models import Message, Thread
from chat.ollama.client import ChatMessage
from chat.prompt.estimate import estimate, script_of
from chat.prompt.marks import neutralize_markup
from chat.prompt.turns import Turn, correction, size_of, turn_sizes, turns_of, turns_so_far
from core.errors import ApiError

# What the model's template adds once, as a careful guess: Llama's tells the date, SmolLM's has a
# system prompt of its own.
TOKENS_OF_A_TEMPLATE = 32

OMISSION = "[…]"  # instead of the middle of a text
LEAST_TOKENS_OF_A_TURN = 100


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one reply.

    `tokens` is its size: estimated for what no reply has counted yet, as `question_tokens` is for
    the new message alone. It fits in `num_ctx`, the thread's window; `model_window` is the one for
    which Ollama loads the model. `characters_cut` is how many were cut out of the only turn that is
    left.
    """

    system: str
    turns: Sequence[Turn]
    question: str
    question_tokens: int
    num_ctx: int
    model_window: int
    tokens: int
    turns_dropped: int
    characters_cut: int = 0

    @property
    def start(self) -> int | None:
        """The id of the first message after the system prompt; None where that is the new one."""
        return self.turns[0].question.pk if self.turns else None

    @property
    def messages(self) -> list[ChatMessage]:
        """The messages, as the model gets them."""
        system = [ChatMessage(role="system", content=self.system)] if self.system.strip() else []
        turns = chain.from_iterable(turn.messages() for turn in self.turns)
        return [*system, *turns, ChatMessage(role="user", content=self.question)]

    def with_fewer_turns(self) -> "Prompt | None":
        """Return the prompt without the older half of its turns; None where it has none."""
        if not self.turns:
            return None
        dropped = ceil(len(self.turns) / 2)
        return replace(
            self,
            turns=self.turns[dropped:],
            tokens=self.tokens - sum(turn.estimated_tokens for turn in self.turns[:dropped]),
            turns_dropped=self.turns_dropped + dropped,
            characters_cut=0,
        )


def plan(thread: Thread, path: Sequence[Message], text: str, window: int) -> Prompt:
    """Return the prompt for `text`, sent after the messages of `path`.

    `path` may begin where `read_path` begins it. `window` is the model's context length in tokens,
    as far as this server allows it. Raises `ApiError` where `text` alone does not fit.
    """
    num_ctx, budget = limits(thread, window)
    question = neutralize_markup(text)
    question_tokens = new = estimate(question)
    kept = turns_since_start(path, thread, num_ctx)
    before = tokens_before(kept, thread, num_ctx)
    if before + new > budget:
        new = ceil(new * correction(kept, thread.model, script_of(text)))
    require_fit(thread, new, window)

    tokens, characters_cut = before + new, 0
    if tokens > budget:
        sizes = turn_sizes(kept, thread.model)
        least = front_size(thread) + new
        # Where a long answer takes half of the window, there must still be room to grow;
        # where a long message does, the turns keep half of what it leaves.
        goal = max(min(num_ctx // 2, budget * 2 // 3), (least + budget) // 2)
        tokens = least + sum(sizes)
        while tokens > goal and len(kept) > 1:
            tokens -= sizes.pop(0)
            del kept[0]
        if tokens > budget:  # by the last turn alone
            kept, characters_cut = shorten(kept, budget - least)
            tokens = least + sum(turn.estimated_tokens for turn in kept)

    return Prompt(
        neutralize_markup(thread.effective_system_prompt),
        kept,
        question,
        question_tokens,
        num_ctx,
        window,
        tokens,
        turns_dropped=turns_so_far(path) - len(kept),
        characters_cut=characters_cut,
    )


def replan(
    thread: Thread, path: Sequence[Message], question: Message, reply: Message, window: int
) -> Prompt:
    """Return the prompt that a reply was made from, to go on with it.

    `path` begins with the reply's `context_start`; it is empty where no turn was sent.
    """
    num_ctx, budget = limits(thread, window)
    kept, characters_cut = turns_of(path), 0
    if reply.characters_cut:
        front = front_size(thread) + size_of(question)
        kept, characters_cut = shorten(kept, budget - front)
    return Prompt(
        neutralize_markup(thread.effective_system_prompt),
        kept,
        neutralize_markup(question.content),
        size_of(question),
        num_ctx,
        window,
        reply.context_tokens or 0,
        turns_dropped=reply.turns_dropped or 0,
        characters_cut=characters_cut,
    )


def shorten(turns: list[Turn], tokens: int) -> tuple[list[Turn], int]:
    """Return the one turn cut to `tokens`, and how many characters of it were cut.

    The middle of its reply goes first; a question that leaves the reply less than half is cut, too.
    Without a turn where there is no room for one.
    """
    (turn,) = turns
    if tokens < LEAST_TOKENS_OF_A_TURN:
        return [], 0
    question = cut_middle(turn.question, max(tokens // 2, tokens - size_of(turn.reply)))
    reply = cut_middle(turn.reply, tokens - size_of(question))
    cut = len(turn.question.content) + len(turn.reply.content)
    cut -= len(question.content) + len(reply.content)
    return [Turn(question, reply)], cut


def cut_middle(message: Message, tokens: int) -> Message:
    """Return the message, or a copy of at most `tokens` with its middle left out."""
    if size_of(message) <= tokens:
        return message
    text, kept = message.content, len(message.content) * tokens // size_of(message) // 2
    while True:
        short = copy(message)
        short.content = f"{text[:kept]}\n{OMISSION}\n{text[len(text) - kept :]}"
        short.tokens = None
        if kept == 0 or size_of(short) <= tokens:
            return short
        kept = kept * 9 // 10


def options_for(
    thread: Thread, prompt: Prompt, written_tokens: int = 0, *, limits_anew: bool = False
) -> dict[str, Any]:
    """Return the options of the call that sends a thread's prompt.

    Ollama reloads a model for another `num_ctx`, so all calls have the model's: the thread's
    bounds its prompts only. A reply that the thread does not limit may have
    `CHAT_REPLY_TOKENS_MAX` tokens, or as many as there is room for beside what is written already.
    What is written counts towards the limit, unless the reply `limits_anew`: its user has it
    continued.
    """
    room = max(1, prompt.model_window - prompt.tokens - written_tokens)
    own_limit = thread.options.get("num_predict")
    limit = own_limit or settings.CHAT_REPLY_TOKENS_MAX
    left = limit if limits_anew else limit - written_tokens
    if left < 0:  # its user has had it continued before, with a limit of its own each time
        left = limit - written_tokens % limit
    left = max(1, left if own_limit else min(left, room))
    return {**thread.options, "num_predict": left, "num_ctx": prompt.model_window}


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
    """Return the path's turns from its starting point on; all of them where it has none."""
    turns, start = turns_of(path), starting_point(path, thread, num_ctx)
    return [turn for turn in turns if start is None or turn.question.pk >= start]


def starting_point(path: Sequence[Message], thread: Thread, num_ctx: int) -> int | None:
    """Return the first message of the last prompt on the path that had the thread's front.

    A reply in between may have been asked for with another model. None where the front has changed,
    or where that prompt had a turn cut, which is sent whole again or not at all.
    """
    for message in reversed(path):
        start = message.context_start
        if start is None:
            continue
        if not message.context_key:
            return None
        if message.context_key == front_key(thread, start, num_ctx):
            return start
    return None


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

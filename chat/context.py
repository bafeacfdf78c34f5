"""What the model sees of a thread: the system prompt, then whole turns from a starting point on.

Ollama cuts a prompt that is too long without a word, so what is sent must be known to fit. How
many tokens a text has only the model's own tokenizer knows, and Ollama tells the count of each
prompt after the reply. So what was sent before is measured by the counts of the thread's earlier
replies, and only what is new is estimated: carefully, and where that is too much, by what the
counts tell of texts in the same script.

The starting point stays until the conversation outgrows the window; then it moves as far as leaves
half of the window free. In between, each prompt begins with the one before it, which is what
llama.cpp's prompt cache needs to skip it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from math import ceil

from chat.llm import Prompt
from chat.models import Message, Sender, Status, Thread
from llama_chatbot.errors import ApiError

# What the model's template adds, as a careful guess: to each message its role and its end, to the
# whole of them a beginning (Llama's tells the date, SmolLM's has a system prompt of its own).
TOKENS_AROUND_A_MESSAGE = 12
TOKENS_OF_A_TEMPLATE = 32

# See `estimate`. A single space goes with what comes after it, but for a digit.
PIECES = re.compile(
    r"(?P<no_words>[A-Za-z0-9]{17,})|(?P<word>[A-Z]?[a-z]+)|(?P<capitals>[A-Z]+)"
    r"|(?P<digit_apart> [0-9])|(?P<spaces> {2,})|(?P<beyond_ascii>[^\x00-\x7f])|(?P<mark>[^ ])"
)
CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{3,}")
LETTERS_IN_A_TOKEN = 3
CAPITALS_IN_A_TOKEN = 1.5
SPACES_IN_A_TOKEN = 4

# See `scale`. Words of one script may still have half as many letters in a token as others.
MARGIN = 1.2
LEAST_SCALE = 0.25
SAMPLE = 200  # characters that tell the script

# What the templates of LLaMA and its relatives put between messages. Ollama does not tell such a
# mark in a text from its own, so a user could end their message and speak as somebody else.
MARKS = re.compile(
    r"<(?=[|\uff5c][^\s|\uff5c]{1,50}[|\uff5c]>|/?s>|<?/?SYS>|(?:start|end)_of_turn>"
    r"|(?:bos|eos|pad|unk|sop|eop)>|(?:extra_id|reserved|unused)_?\d+>|im_(?:start|end)>|turn\|>)"
    r"|\[(?=\|[A-Za-z_]{1,20}\|\]|/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+)\]|gMASK\]"
    r"|UNUSED_TOKEN_\d+\])",
    re.IGNORECASE,
)
ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True, slots=True)
class Context:
    """What one reply is made from.

    `start` is the id of the first message after the system prompt, None where that is the new one;
    `tokens` is how many the prompt has, estimated for what no reply has counted yet.
    """

    messages: list[Prompt]
    start: int | None
    num_ctx: int
    tokens: int
    turns_kept: int
    turns_dropped: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its reply, which may have been stopped before its first word."""

    question: Message
    reply: Message

    def prompts(self) -> list[Prompt]:
        """Return the turn as the model sees it."""
        asked = Prompt(role="user", content=defused(self.question.content))
        if not self.reply.content:
            return [asked]
        return [asked, Prompt(role="assistant", content=defused(self.reply.content))]

    @property
    def estimated(self) -> int:
        """How many tokens the turn has by `estimate`."""
        return sum(estimate(prompt["content"]) for prompt in self.prompts())

    @property
    def total(self) -> int | None:
        """How many tokens the conversation had after this turn, if Ollama has counted them."""
        reply = self.reply
        if not reply.prompt_tokens or reply.completion_tokens is None:
            return None
        answer = reply.completion_tokens
        if reply.thinking:  # which was counted with the answer, and is not sent again
            answer = min(answer, estimate(reply.content))
        return reply.prompt_tokens + answer


def require_fit(thread: Thread, size: int, window: int) -> None:
    """Raise `ApiError` unless a message of so many tokens fits the window, with what it needs."""
    num_ctx, budget = room(thread, window)
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


def room(thread: Thread, window: int) -> tuple[int, int]:
    """Return the tokens of the thread's window, and how many of them are for the prompt."""
    num_ctx = min(thread.options.get("num_ctx", window), window)
    return num_ctx, num_ctx - room_for_answer(thread, num_ctx)


def plan(thread: Thread, path: Sequence[Message], text: str, window: int) -> Context:
    """Return what the model is to see, when `text` is said after the messages of `path`.

    `window` is the model's context length in tokens, as far as this server allows it. Raises
    `ApiError` where `text` alone does not fit.
    """
    num_ctx, budget = room(thread, window)
    asked = Prompt(role="user", content=defused(text))
    new = estimate(asked["content"])
    kept = since_start(path, thread, num_ctx)
    before = counted(kept, thread, num_ctx)
    if before + new > budget:
        new = ceil(new * scale(kept, thread, script_of(text)))
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

    system = defused(thread.effective_system_prompt)
    messages = [Prompt(role="system", content=system)] if system.strip() else []
    for turn in kept:
        messages += turn.prompts()
    messages.append(asked)
    return Context(
        messages,
        start=kept[0].question.pk if kept else None,
        num_ctx=num_ctx,
        tokens=tokens,
        turns_kept=len(kept),
        turns_dropped=len(turns_of(path)) - len(kept),
    )


def room_for_answer(thread: Thread, num_ctx: int) -> int:
    """Return how many tokens of the window are not for the prompt."""
    wanted: int | None = thread.options.get("num_predict")
    # At least as much as an estimate of a rare text may be wrong by.
    return num_ctx // 4 if wanted is None else min(max(wanted, num_ctx // 10), num_ctx // 2)


def turns_of(path: Sequence[Message]) -> list[Turn]:
    """Return the path's questions with their replies, those without that failed."""
    return [
        Turn(question, reply)
        for question, reply in pairwise(path)
        if question.sender == Sender.USER
        and reply.sender == Sender.BOT
        and reply.status != Status.FAILED
    ]


def since_start(path: Sequence[Message], thread: Thread, num_ctx: int) -> list[Turn]:
    """Return the turns from the starting point of the last reply on.

    All of them, where the model would not know the front of that reply's prompt again.
    """
    turns = turns_of(path)
    start = path[-1].context_start if path else None
    if start is None or path[-1].context_key != key_of(thread, start, num_ctx):
        return turns
    return [turn for turn in turns if turn.question.pk >= start]


def key_of(thread: Thread, start: int, num_ctx: int) -> str:
    """Return a name for the front of a prompt.

    Only under the same one do counts compare, and does the model's cache hold.
    """
    front = repr((thread.model, thread.effective_system_prompt, start, num_ctx))
    return sha256(front.encode()).hexdigest()[:16]


def front_size(thread: Thread) -> int:
    """Return an estimate of the tokens before the first message."""
    return TOKENS_OF_A_TEMPLATE + size_of_system_prompt(thread.effective_system_prompt)


@lru_cache(maxsize=100)
def size_of_system_prompt(text: str) -> int:
    """Return `estimate` of a system prompt, which most threads share."""
    return estimate(defused(text))


def counted(kept: Sequence[Turn], thread: Thread, num_ctx: int) -> int:
    """Return how many tokens the system prompt and these turns have, by the last count of them."""
    sizes = turn_sizes(kept, thread.model)
    key = key_of(thread, kept[0].question.pk, num_ctx) if kept else ""
    size, last_total = front_size(thread), 0
    for turn, turn_size in zip(kept, sizes, strict=True):
        size += turn_size
        # A prompt only grows. Where Ollama had to cut it, or does not count what it had cached
        # (as old versions do not), it says less.
        if turn.total is not None and turn.total > last_total and turn.reply.context_key == key:
            size = last_total = turn.total
    return size


def turn_sizes(turns: Sequence[Turn], model: str) -> list[int]:
    """Return the tokens of each turn, counted or estimated."""
    return [
        size or turn.estimated
        for turn, size in zip(turns, counted_sizes(turns, model), strict=True)
    ]


def counted_sizes(turns: Sequence[Turn], model: str) -> list[int | None]:
    """Return the tokens of each turn: between two counts of one prompt it is their difference."""
    sizes: list[int | None] = []
    before: Turn | None = None
    for turn in turns:
        total, total_before = turn.total, before.total if before else None
        if (
            before
            and total is not None
            and total_before is not None
            and total > total_before
            and turn.reply.model == model
            and turn.reply.context_key == before.reply.context_key
        ):
            sizes.append(total - total_before)
        else:
            sizes.append(None)
        before = turn
    return sizes


def scale(turns: Sequence[Turn], thread: Thread, script: str) -> float:
    """Return what part of an estimate a text of this script has by the model's counts of others.

    The largest part among the turns, with a margin; 1 where there are none of that script, and for
    ASCII, which is estimated closely, and where digits or a password follow on words.
    """
    parts = [
        size / turn.estimated
        for turn, size in zip(turns, counted_sizes(turns, thread.model), strict=True)
        if size and script_of(turn.question.content + turn.reply.content) == script
    ]
    if script == "LATIN" or not parts:
        return 1
    return min(1, max(LEAST_SCALE, MARGIN * max(parts)))


def script_of(text: str) -> str:
    """Return in which script most of a text is, by Unicode's names of its characters."""
    sample = text[:: len(text) // SAMPLE + 1]
    scripts = Counter(
        "LATIN" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]
        for character in sample
        if not character.isspace()
    )
    return scripts.most_common(1)[0][0] if scripts else "LATIN"


def estimate(text: str) -> int:
    """Return a number of tokens that `text`, as one message, will hardly exceed.

    Three letters of a word make a token, four spaces of a run do, and every digit, mark and line
    end is one. Capitals and crowds of consonants, as in abbreviations and passwords, are split
    into more, and what has more letters and digits than a word (base64, a hash) into single ones.
    Beyond ASCII each byte of UTF-8 may be one: no byte-level tokenizer has more.
    """
    if not text:
        return 0
    tokens = TOKENS_AROUND_A_MESSAGE
    for piece in PIECES.finditer(text):
        match piece.lastgroup:
            case "word":
                tokens += -(-len(piece[0]) // LETTERS_IN_A_TOKEN)
                tokens += sum(len(crowd) - 2 for crowd in CONSONANTS.findall(piece[0]))
            case "capitals":
                tokens += ceil(len(piece[0]) / CAPITALS_IN_A_TOKEN)
            case "digit_apart":
                tokens += 2
            case "spaces":
                tokens += -(-len(piece[0]) // SPACES_IN_A_TOKEN)
            case "no_words":
                tokens += len(piece[0])
            case "beyond_ascii":
                tokens += len(piece[0].encode())
            case _:
                tokens += 1
    return tokens


def defused(text: str) -> str:
    """Return `text` with every mark of a chat template made harmless, alike to a reader."""
    return MARKS.sub(lambda mark: mark[0] + ZERO_WIDTH_SPACE, text)

"""What the model sees of a thread: the system prompt, then whole turns from a starting point on.

Ollama cuts a prompt that is too long without a word, so what is sent must be known to fit. How
many tokens a text has only the model's own tokenizer knows, and Ollama tells the count of each
prompt after the reply. So what was sent before is measured by the counts of the thread's earlier
replies, and only what is new is estimated.

The starting point stays until the conversation outgrows the window; then it moves as far as leaves
half of the window free. In between, each prompt begins with the one before it, which is what
llama.cpp's prompt cache needs to skip it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from chat.llm import Prompt
from chat.models import Message, Sender, Status, Thread
from llama_chatbot.errors import ApiError

TOKENS_AROUND_A_MESSAGE = 8  # of the model's template: the role, the end

# Words, and else one character each; a single space goes with the word after it.
PIECES = re.compile(r"([A-Z]?[a-z]+|[A-Z]+)|([^\x00-\x7f])|\s{2,}|[^ ]", re.ASCII)
LETTERS_IN_A_TOKEN = 4

# What the templates of LLaMA and its relatives use between messages. Ollama does not tell such a
# mark in a text from its own, so a user could end their message and speak as somebody else.
MARKS = re.compile(r"<(?=[|\uff5c]|/?s>|<SYS>>|</SYS>>|(?:start|end)_of_turn>)|\[(?=/?INST\])")
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


def plan(thread: Thread, path: Sequence[Message], text: str, window: int) -> Context:
    """Return what the model is to see, when `text` is said after the messages of `path`.

    `window` is the model's context length in tokens, as far as this server allows it. Raises
    `ApiError` where `text` alone does not fit.
    """
    num_ctx = min(thread.options.get("num_ctx", window), window)
    budget = num_ctx - room_for_answer(thread, num_ctx)
    system = defused(thread.effective_system_prompt)
    new = estimate(system) + estimate(text)
    if new > budget:
        problem = f"The message is about {new - budget} tokens too long for the model's window."
        raise ApiError(problem, fields={"message": [problem]})

    turns = turns_of(path)
    start = turns[-1].reply.context_start if turns else None
    kept = [turn for turn in turns if start is not None and turn.question.pk >= start]
    tokens = estimate(text) + counted(kept, thread)
    if tokens > budget:
        sizes = turn_sizes(kept, thread.model)
        while sizes and new + sum(sizes) > num_ctx // 2:
            del kept[0], sizes[0]
        tokens = new + sum(sizes)

    messages = [Prompt(role="system", content=system)] if system else []
    for turn in kept:
        messages += turn.prompts()
    messages.append(Prompt(role="user", content=defused(text)))
    start = kept[0].question.pk if kept else None
    return Context(messages, start, num_ctx, tokens, len(kept), len(turns) - len(kept))


def room_for_answer(thread: Thread, num_ctx: int) -> int:
    """Return how many tokens of the window are not for the prompt."""
    wanted = thread.options.get("num_predict", -1)
    return int(min(wanted, num_ctx // 2) if wanted > 0 else num_ctx // 4)


def turns_of(path: Sequence[Message]) -> list[Turn]:
    """Return the path's questions with their replies, those without that failed."""
    return [
        Turn(question, reply)
        for question, reply in pairwise(path)
        if question.sender == Sender.USER
        and reply.sender == Sender.BOT
        and reply.status != Status.FAILED
    ]


def key_of(thread: Thread, start: int) -> str:
    """Return a name for the front of a prompt; counts compare only under the same one."""
    front = repr((thread.model, thread.effective_system_prompt, start))
    return sha256(front.encode()).hexdigest()[:16]


def counted(kept: Sequence[Turn], thread: Thread) -> int:
    """Return how many tokens the system prompt and these turns have, by the last count of them."""
    sizes = turn_sizes(kept, thread.model)
    if kept:
        key = key_of(thread, kept[0].question.pk)
        for i in reversed(range(len(kept))):
            total = total_after(kept[i].reply)
            if total is not None and kept[i].reply.context_key == key:
                return total + sum(sizes[i + 1 :])
    return estimate(defused(thread.effective_system_prompt)) + sum(sizes)


def total_after(reply: Message) -> int | None:
    """Return what prompt and answer had together, by Ollama's count."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return reply.prompt_tokens + reply.completion_tokens


def turn_sizes(turns: Sequence[Turn], model: str) -> list[int]:
    """Return the tokens of each turn: between two counts of one prompt it is their difference."""
    sizes = []
    before: Message | None = None
    for turn in turns:
        reply = turn.reply
        total = total_after(reply) if reply.model == model else None
        total_before = total_after(before) if before else None
        if (
            before
            and total is not None
            and total_before is not None
            and before.context_key == reply.context_key
        ):
            sizes.append(max(0, total - total_before))
        else:
            sizes.append(estimate(turn.question.content) + estimate(reply.content))
        before = reply
    return sizes


def estimate(text: str) -> int:
    """Return a number of tokens that `text`, as one message, will hardly exceed.

    Four letters make a token; a digit, a mark or a run of white space is one each. Beyond ASCII
    each byte of UTF-8 may be one: no byte-level tokenizer has more.
    """
    if not text:
        return 0
    tokens = TOKENS_AROUND_A_MESSAGE
    for piece in PIECES.finditer(text):
        letters, other = piece.groups()
        if other:
            tokens += len(other.encode())
        elif letters:
            tokens += -(-len(letters) // LETTERS_IN_A_TOKEN)
        else:
            tokens += 1
    return tokens


def defused(text: str) -> str:
    """Return `text` with every mark of a chat template made harmless, alike to a reader."""
    return MARKS.sub(lambda mark: mark[0] + ZERO_WIDTH_SPACE, text)

"""Turns of a conversation, and how many tokens each has."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from chat.models import Message, MessageStatus, Sender
from chat.ollama.client import ChatMessage
from chat.prompt import estimate as estimator
from chat.prompt.estimate import estimate, script_of
from chat.prompt.marks import neutralize_markup

# See `correction`. Words of one script may still have half as many letters in a token as others.
MARGIN = 1.2
LEAST_CORRECTION = 0.25


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its reply, which may have been stopped before its first word."""

    question: Message
    reply: Message

    def messages(self) -> list[ChatMessage]:
        """Return the turn as the model sees it."""
        asked = ChatMessage(role="user", content=neutralize_markup(self.question.content))
        if not self.reply.content:
            return [asked]
        return [asked, ChatMessage(role="assistant", content=neutralize_markup(self.reply.content))]

    @property
    def estimated_tokens(self) -> int:
        """How many tokens the turn has by `estimate`."""
        return size_of(self.question) + size_of(self.reply)

    @property
    def tokens_so_far(self) -> int | None:
        """How many tokens the conversation had after this turn, if Ollama has counted them."""
        reply = self.reply
        if not reply.prompt_tokens or reply.completion_tokens is None:
            return None
        answer = reply.completion_tokens
        if reply.thinking:  # which was counted with the answer, and is not sent again
            answer = min(answer, size_of(reply))
        return reply.prompt_tokens + answer


def size_of(message: Message) -> int:
    """Return how many tokens a message has by `estimate`, kept on it; `save_outcome` stores it."""
    if message.tokens is None or message.estimator != estimator.VERSION:
        message.tokens = estimate(neutralize_markup(message.content))
        message.estimator = estimator.VERSION
    return message.tokens


def turns_so_far(path: Sequence[Message]) -> int:
    """Return how many turns a branch has, though `path` may hold only the newest of them."""
    for number, reply in enumerate(reversed(path)):
        if reply.turns_kept is not None and reply.turns_dropped is not None:
            after = turns_of(path[len(path) - number :])
            is_turn = reply.status != MessageStatus.FAILED
            return reply.turns_kept + reply.turns_dropped + is_turn + len(after)
    return len(turns_of(path))


def turns_of(path: Sequence[Message]) -> list[Turn]:
    """Return the path's questions with their replies, leaving out those whose reply failed.

    One whose reply was deleted has an empty one.
    """
    turns = []
    for question, reply in zip_longest(path, path[1:]):
        if question.sender != Sender.USER:
            continue
        if reply is None or reply.sender != Sender.BOT:
            turns.append(Turn(question, Message(sender=Sender.BOT)))
        elif reply.status != MessageStatus.FAILED:
            turns.append(Turn(question, reply))
    return turns


def turn_sizes(turns: Sequence[Turn], model: str) -> list[int]:
    """Return the tokens of each turn, counted by `model` or else estimated."""
    return [
        size or turn.estimated_tokens
        for turn, size in zip(turns, counted_sizes(turns, model), strict=True)
    ]


def counted_sizes(turns: Sequence[Turn], model: str) -> list[int | None]:
    """Return the tokens of each turn: the difference between two counts of the same prompt."""
    sizes: list[int | None] = []
    before: Turn | None = None
    for turn in turns:
        total, total_before = turn.tokens_so_far, before.tokens_so_far if before else None
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


def correction(turns: Sequence[Turn], model: str, script: str) -> float:
    """Return the factor by which the estimate of a text in this script may be lowered.

    It is the largest ratio of counted to estimated tokens among the turns in that script, with a
    margin. 1 where there are none, and for ASCII, which is estimated closely even where digits or
    a password follow words.
    """
    ratios = [
        size / turn.estimated_tokens
        for turn, size in zip(turns, counted_sizes(turns, model), strict=True)
        if size and script_of(turn.question.content + turn.reply.content) == script
    ]
    if script == "LATIN" or not ratios:
        return 1
    return min(1, max(LEAST_CORRECTION, MARGIN * max(ratios)))

"""Long conversations: how many tokens the model evaluates again for each turn.

The bundled model talks for 60 turns in a window of 2,048 tokens, and every fifth of its replies is
regenerated. The prompts have the starting point of `chat/prompt/window.py`, and the model counts
the tokens that it evaluates: a prompt's, less those in its cache. Its tokenizer counts what it
would have evaluated of the same conversation if just enough of the oldest turns had been dropped
each time; evaluating that would take eight minutes on two cores. For the conversation that was
held, the tokenizer's count must agree with the model's own.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, product, takewhile
from typing import Any

import httpx

import benchmarks.world  # noqa: F401 - sets Django up
from benchmarks.result import Result, note, run_alone
from chat.models import Message, Sender, Thread
from chat.ollama.client import ChatMessage
from chat.prompt import window as prompt_window
from chat.prompt.estimate import estimate
from chat.prompt.turns import turns_of
from local_model.model import Model, find_weights
from local_model.schemas import Message as ModelMessage
from testing.processes import ROOT

WHAT = "tokens evaluated again in a long conversation"
LIMIT = 0.15
GOAL = "at most 0.15 of what dropping the oldest turns each time costs"

MODEL = "smollm2:135m"

QUESTIONS = [
    f"{opening} {topic}? {manner}"
    for topic, (opening, manner) in product(
        (
            "the llamas of the Andes",
            "the printing press",
            "growing tomatoes on a balcony",
            "the rings of Saturn",
            "baking bread at home",
            "the history of Lisbon",
            "how bees find flowers",
            "learning to play chess",
            "the tides of the sea",
            "writing a short story",
            "the inside of a clock",
            "walking across Scotland",
        ),
        (
            ("What should a beginner know about", "Please keep it to one short paragraph."),
            ("Which mistake do most people make with", "One example is enough for me."),
            ("Who were the first to care about", "I read something else last week."),
            ("Why do people still talk about", "My sister asked me that at breakfast."),
            ("Where could I find out more about", "A book would be best, or a museum."),
        ),
    )
]

Tokenize = Callable[[list[ChatMessage]], list[int]]
Conversation = list[tuple[list[ChatMessage], str]]  # each reply's prompt and answer
Asked = list[tuple[int, str]]  # the number of each reply's turn, and its answer
REGENERATED = 5  # every so many turns
SAME = 0.05  # share by which the two counts may differ


def measure(quick: bool = False) -> Result:
    """Hold a conversation, and compare it with dropping the oldest turns each time."""
    turns, window, answer = (8, 512, 8) if quick else (60, 2048, 32)
    with bundled_model(window) as model:
        path, asked, held, evaluated = talk(model, turns, window, answer)
    dropped = dropping_the_oldest(path, asked, window)
    with tokenizer() as tokenize:
        counted, otherwise = (evaluated_again(replies, tokenize) for replies in (held, dropped))
    note(f"{evaluated} tokens in {turns} turns, {counted} by the tokenizer; else {otherwise}")
    if abs(counted - evaluated) > SAME * evaluated:
        raise RuntimeError("The tokenizer's count is not the model's own")
    return Result(
        f"{evaluated / otherwise:.3f} "
        f"({evaluated / turns:.0f} of {otherwise / turns:.0f} tokens a turn)",
        evaluated / otherwise <= LIMIT,
    )


def talk(
    model: httpx.Client, turns: int, window: int, longest: int
) -> tuple[list[Message], Asked, Conversation, int]:
    """Hold the conversation; return its messages, its replies, its prompts, and what was evaluated.

    Answers have at most `longest` tokens. A regenerated reply takes the place of the first.
    """
    thread = Thread(model=MODEL)
    path: list[Message] = []
    asked: Asked = []
    held: Conversation = []
    evaluated = 0
    for number, text in enumerate(islice(QUESTIONS, turns)):
        before, is_regenerated = list(path), (number + 1) % REGENERATED == 0
        for seed in range(1, 3 if is_regenerated else 2):
            path = list(before)
            plan = prompt_window.plan(thread, path, text, window)
            answer = ask(model, plan.messages, window, longest, seed)
            text_of_answer = answer["message"]["content"]
            evaluated += answer["prompt_eval_count"] - answer["prompt_eval_cached_count"]
            asked.append((number, text_of_answer))
            held.append((plan.messages, text_of_answer))
            question = Message(pk=len(path) + 1, sender=Sender.USER, content=text)
            start = plan.start or question.pk
            reply = Message(
                pk=len(path) + 2,
                sender=Sender.BOT,
                content=text_of_answer,
                model=MODEL,
                context_start=start,
                context_key=prompt_window.front_key(thread, start, window),
                prompt_tokens=answer["prompt_eval_count"],
                completion_tokens=answer["eval_count"],
            )
            path += [question, reply]
    return path, asked, held, evaluated


def dropping_the_oldest(path: Sequence[Message], asked: Asked, window: int) -> Conversation:
    """Return the same replies, but each prompt with as many of the newest turns as fit."""
    thread = Thread(model=MODEL)
    system = ChatMessage(role="system", content=thread.effective_system_prompt)
    dropped: Conversation = []
    every = turns_of(path)
    for number, answer in asked:
        turn, turns = every[number], every[:number]
        sizes = [
            estimate(turn.question.content) + (turn.reply.completion_tokens or 0) for turn in turns
        ]
        budget = window - prompt_window.room_for_answer(thread, window)
        budget -= prompt_window.front_size(thread) + estimate(turn.question.content)
        while sum(sizes) > budget:
            del turns[0], sizes[0]
        before = [message for kept in turns for message in kept.messages()]
        dropped.append(([system, *before, turn.messages()[0]], answer))
    return dropped


def evaluated_again(replies: Conversation, tokenize: Tokenize) -> int:
    """Return how many tokens of the prompts are not a prefix that the cache holds."""
    evaluated = 0
    cached: list[int] = []
    for prompt, answer in replies:
        tokens = tokenize(prompt)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(cached, tokens, strict=False))
        evaluated += len(tokens) - sum(1 for _ in same)
        cached = tokenize([*prompt, ChatMessage(role="assistant", content=answer)])
    return evaluated


@contextmanager
def tokenizer() -> Iterator[Tokenize]:
    """Load the bundled model for its tokenizer alone."""
    with asyncio.Runner() as runner:

        async def load() -> Model:
            return Model(find_weights(), slots=1, context=512)

        model = runner.run(load())

        async def tokenize(prompt: list[ChatMessage]) -> list[int]:
            messages = [ModelMessage.model_validate(message) for message in prompt]
            return await model.tokenize(await model.render(messages))

        yield lambda prompt: runner.run(tokenize(prompt))
        runner.run(model.close())


def ask(
    model: httpx.Client, prompts: list[ChatMessage], window: int, longest: int, seed: int
) -> dict[str, Any]:
    """Return the model's answer with its counts, of which Ollama's client does not know all."""
    options = {"num_ctx": window, "num_predict": longest, "temperature": seed - 1, "seed": seed}
    body = {"model": MODEL, "messages": prompts, "stream": False, "options": options}
    answer: dict[str, Any] = model.post("/api/chat", json=body).raise_for_status().json()
    return answer


@contextmanager
def bundled_model(window: int, slots: int = 1) -> Iterator[httpx.Client]:
    """Run the bundled model on a free port, until the block ends."""
    command = [sys.executable, "-m", "local_model", "--port", "0"]
    command += ["--slots", str(slots), "--context", str(window)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            ready = process.stdout.readline() if process.stdout else ""
            with httpx.Client(base_url=ready.split()[-1], timeout=300) as model:
                yield model
        finally:
            process.terminate()


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

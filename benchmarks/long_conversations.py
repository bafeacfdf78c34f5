"""Long conversations: how many tokens of them the model reads again for each turn.

The bundled model talks for 60 turns in a window of 2,048 tokens, twice: with the starting point
of `chat/context.py`, and dropping the oldest turns each time, as many as needed. What is read is
counted by the model itself: a prompt's tokens less those that its cache held.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, product
from typing import Any

import httpx

import benchmarks.world  # noqa: F401 - sets Django up
from benchmarks.result import Result, note, run_alone
from chat import context
from chat.llm import Prompt
from chat.models import Message, Sender, Thread
from llama_chatbot.tests.processes import ROOT

WHAT = "tokens read again in a long conversation"
LIMIT = 0.15
GOAL = "at most 0.15 of what dropping the oldest turn each time costs"

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

Choose = Callable[[Thread, Sequence[Message], str, int], list[Prompt]]


def measure(quick: bool = False) -> Result:
    """Hold the same conversation both ways, one after the other."""
    turns, window, answer = (8, 512, 8) if quick else (60, 2048, 32)
    read = {}
    with bundled_model(window) as model:
        for choose in (from_a_starting_point, dropping_the_oldest):
            read[choose] = talk(model, choose, turns, window, answer)
            note(f"{read[choose]:.0f} tokens read a turn {choose.__name__.replace('_', ' ')}")
    ours, theirs = read.values()
    return Result(
        f"{ours / theirs:.3f} ({ours:.0f} of {theirs:.0f} a turn)", ours / theirs <= LIMIT
    )


def from_a_starting_point(
    thread: Thread, path: Sequence[Message], text: str, window: int
) -> list[Prompt]:
    """Return the prompt as this project makes it."""
    return context.plan(thread, path, text, window).messages


def dropping_the_oldest(
    thread: Thread, path: Sequence[Message], text: str, window: int
) -> list[Prompt]:
    """Return the prompt with as many of the newest turns as fit."""
    turns = context.turns_of(path)
    sizes = [
        context.estimate(turn.question.content) + (turn.reply.completion_tokens or 0)
        for turn in turns
    ]
    budget = window - context.room_for_answer(thread, window)
    budget -= context.front_size(thread) + context.estimate(text)
    while sum(sizes) > budget:
        del turns[0], sizes[0]
    prompts = [Prompt(role="system", content=thread.effective_system_prompt)]
    for turn in turns:
        prompts += turn.prompts()
    return [*prompts, Prompt(role="user", content=text)]


def talk(model: httpx.Client, choose: Choose, turns: int, window: int, longest: int) -> float:
    """Hold the conversation; return how many tokens the model read for a turn, on average.

    Answers have at most `longest` tokens.
    """
    thread = Thread(model=MODEL)
    path: list[Message] = []
    read = 0
    for text in islice(QUESTIONS, turns):
        prompts = choose(thread, path, text, window)
        answer = ask(model, prompts, window, longest)
        read += answer["prompt_eval_count"] - answer["prompt_eval_cached_count"]
        said = [prompt["content"] for prompt in prompts]
        question = Message(pk=len(path) + 1, sender=Sender.USER, content=text)
        start = next(message.pk for message in [*path, question] if message.content == said[1])
        reply = Message(
            pk=len(path) + 2,
            sender=Sender.BOT,
            content=answer["message"]["content"],
            model=MODEL,
            context_start=start,
            context_key=context.key_of(thread, start, window),
            prompt_tokens=answer["prompt_eval_count"],
            completion_tokens=answer["eval_count"],
        )
        path += [question, reply]
    return read / turns


def ask(model: httpx.Client, prompts: list[Prompt], window: int, longest: int) -> dict[str, Any]:
    """Return the model's answer with its counts, of which Ollama's client does not know all."""
    options = {"num_ctx": window, "num_predict": longest, "temperature": 0, "seed": 1}
    body = {"model": MODEL, "messages": prompts, "stream": False, "options": options}
    answer: dict[str, Any] = model.post("/api/chat", json=body).raise_for_status().json()
    return answer


@contextmanager
def bundled_model(window: int) -> Iterator[httpx.Client]:
    """Run the bundled model with one slot on a free port, until the block ends."""
    command = [sys.executable, "-m", "local_model", "--port", "0"]
    command += ["--slots", "1", "--context", str(window)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            ready = process.stdout.readline() if process.stdout else ""
            with httpx.Client(base_url=ready.split()[-1], timeout=300) as model:
                yield model
        finally:
            process.terminate()


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""A conversation in memory, for what `window.plan` makes of it."""

import random
from typing import Any

from chat.models import Message, MessageStatus, Sender, Thread
from chat.prompt import window as prompt_window
from chat.prompt.window import Prompt
from testing.scripted_ollama import count_tokens

WINDOW = 1024


WORDS = ["the", "of", "llama-cpp", "42", "foo(bar)", "größer", "模型", "🎉", "x=1;", "<b>"]


class Conversation:
    """A thread in memory, whose model counts as the scripted tokenizer does."""

    def __init__(self, **fields: Any) -> None:
        self.thread = Thread(pk=1, model="llama3.2", system_prompt="Be brief.", **fields)
        self.path: list[Message] = []
        self.plans: list[Prompt] = []
        self.key = ""

    def say(
        self,
        text: str,
        answer: str = "Yes.",
        status: MessageStatus = MessageStatus.COMPLETE,
        window: int = WINDOW,
        **record: Any,
    ) -> Prompt:
        plan = prompt_window.plan(self.thread, self.path, text, window)
        question = Message(pk=len(self.path) + 1, sender=Sender.USER, content=text)
        start = plan.start or question.pk
        if status == MessageStatus.COMPLETE:
            counts = {
                "prompt_tokens": count_tokens(plan.messages),
                "completion_tokens": count_tokens([{"content": answer}]) - 4,
            }
            record = {**counts, **record}
        reply = Message(
            pk=len(self.path) + 2,
            sender=Sender.BOT,
            content=answer,
            status=status,
            model=self.thread.model,
            context_start=start,
            context_key=prompt_window.front_key(self.thread, start, plan.num_ctx),
            turns_kept=len(plan.turns),
            turns_dropped=plan.turns_dropped,
            **record,
        )
        self.path += [question, reply]
        self.plans.append(plan)
        return plan


def random_text(dice: random.Random, longest: int) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(1, longest)))


def random_conversation(seed: int, turns: int = 40, **fields: Any) -> Conversation:
    dice = random.Random(seed)  # noqa: S311
    conversation = Conversation(**fields)
    endings = [MessageStatus.COMPLETE] * 6 + [
        MessageStatus.STOPPED,
        MessageStatus.INTERRUPTED,
        MessageStatus.FAILED,
    ]
    for _ in range(turns):
        conversation.say(random_text(dice, 20), random_text(dice, 30), dice.choice(endings))
    return conversation

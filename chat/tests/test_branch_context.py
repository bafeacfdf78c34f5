"""The model sees the path to the new message, and as long as it can, the same front of it."""

from itertools import pairwise
from typing import Any

import pytest

from chat.models import Message, Sender, Thread
from chat.prompt.turns import turns_of, turns_so_far
from testing.people import Caller
from testing.scripted_ollama import ScriptedOllama
from testing.streams import path_of

WORDS = "word " * 25


@pytest.fixture
def thread(ann: Caller) -> Thread:
    """A thread whose window holds a few turns."""
    return ann.thread(options={"num_ctx": 512})


def prompts(ollama: ScriptedOllama) -> list[list[dict[str, Any]]]:
    return [chat.messages for chat in ollama.chats]


def say(caller: Caller, thread: Thread, number: int) -> None:
    assert caller.say(thread, f"{number} {WORDS}").status_code == 200


def test_a_regeneration_sends_the_very_prompt_again(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    """So that the model evaluates none of it, also where the starting point has just moved."""
    moves = 0
    for number in range(12):
        say(ann, thread, number)
        ann.post(f"/chat/threads/{thread.pk}/regenerate/")
        sent, again = prompts(ollama)[-2:]
        assert again == sent
        moves += sent[1]["content"] != prompts(ollama)[-3][1]["content"] if number else 0
    assert moves >= 2


def test_between_moves_each_prompt_begins_with_the_one_before_though_replies_are_regenerated(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    for number in range(12):
        say(ann, thread, number)
        if number % 3 == 0:
            ann.post(f"/chat/threads/{thread.pk}/regenerate/")

    for before, after in pairwise(prompts(ollama)):
        if after[1] == before[1]:
            assert after[: len(before)] == before


def test_each_branch_has_a_starting_point_of_its_own(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    for number in range(9):
        say(ann, thread, number)
    long = prompts(ollama)[-1]
    end = Thread.objects.get(pk=thread.pk).current_message_id
    assert long[1]["content"] != f"0 {WORDS}"
    first_reply = thread.messages.filter(sender=Sender.BOT).earliest("pk")
    body = {"message": f"another {WORDS}", "parent_id": first_reply.pk}
    ann.post(path_of(thread), json=body)
    short = prompts(ollama)[-1]
    assert short[1]["content"] == f"0 {WORDS}"
    assert len(short) == 1 + 2 + 1

    ann.put(f"/chat/threads/{thread.pk}/branch/", json={"message_id": end})
    ann.say(thread, "Go on")

    assert prompts(ollama)[-1][: len(long)] == long


def test_a_reply_by_another_model_does_not_move_the_starting_point(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    for number in range(8):
        say(ann, thread, number)
    before = prompts(ollama)[-1]
    ann.post(f"/chat/threads/{thread.pk}/regenerate/", json={"model": "thinker"})

    ann.say(thread, "Go on")

    assert ollama.chats[-1].body["model"] == thread.model
    assert prompts(ollama)[-1][: len(before)] == before


def test_a_question_whose_reply_was_deleted_is_seen(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    ann.say(thread, "One")
    ann.say(thread, "Two")
    reply = thread.messages.latest("pk")
    ann.delete(f"/chat/threads/{thread.pk}/messages/{reply.pk}/")

    ann.say(thread, "Three")

    seen = [message["content"] for message in prompts(ollama)[-1][1:]]
    assert seen == ["One", "You said: One", "Two", "Three"]
    kept = thread.messages.latest("pk").turns_kept
    assert kept == 2


def test_turns_are_counted_where_the_last_reply_was_deleted() -> None:
    def message(sender: Sender, **fields: Any) -> Message:
        return Message(sender=sender, content="x", **fields)

    path = [
        message(Sender.USER),
        message(Sender.BOT, turns_kept=3, turns_dropped=7),
        message(Sender.USER),
    ]

    assert len(turns_of(path)) == 2
    assert turns_so_far(path) == 3 + 7 + 1 + 1

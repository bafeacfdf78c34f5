"""`window.plan`: which turns the model sees, by the properties of many random conversations."""

import random
from itertools import pairwise

import pytest

from chat.models import MessageStatus, Sender, Thread
from chat.prompt import window as prompt_window
from chat.prompt.estimate import estimate
from chat.tests.conversation import WINDOW, Conversation, random_conversation, random_text
from core.errors import ApiError
from testing.scripted_ollama import count_tokens

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_prompt_has_whole_turns_from_a_starting_point_to_the_newest(seed: int) -> None:
    conversation = random_conversation(seed)

    for number, plan in enumerate(conversation.plans):
        turns = [
            (question, reply)
            for question, reply in pairwise(conversation.path[: number * 2])
            if question.sender == Sender.USER and reply.status != MessageStatus.FAILED
        ]
        kept = [turn for turn in turns if plan.start is not None and turn[0].pk >= plan.start]
        contents = [message.content for turn in kept for message in turn]
        system, *messages, asked = plan.messages
        assert system == {"role": "system", "content": "Be brief."}
        assert [message["content"] for message in messages] == contents
        assert [message["role"] for message in messages] == ["user", "assistant"] * len(kept)
        assert asked == {"role": "user", "content": conversation.path[number * 2].content}
        assert (len(plan.turns), plan.turns_dropped) == (len(kept), len(turns) - len(kept))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_prompt_never_has_more_than_fits_beside_the_reply(seed: int) -> None:
    for plan in random_conversation(seed).plans:
        assert count_tokens(plan.messages) <= plan.tokens <= WINDOW * 3 // 4


@pytest.mark.parametrize("seed", SEEDS)
def test_the_starting_point_moves_by_halves_and_stays_in_between(seed: int) -> None:
    plans = random_conversation(seed).plans

    moves = 0
    for before, plan in pairwise(plans):
        if len(plan.turns) and plan.start == before.start:
            continue
        if plan.turns_dropped == before.turns_dropped:
            continue  # there was nothing to begin with before
        moves += 1
        assert plan.turns_dropped > before.turns_dropped
        asked = estimate(plan.messages[-1]["content"])
        assert plan.tokens <= max(
            WINDOW // 2, asked + prompt_window.front_size(Thread(system_prompt="Be brief."))
        )
    assert 1 <= moves <= len(plans) // 5


@pytest.mark.parametrize("seed", SEEDS)
def test_between_moves_each_prompt_begins_with_the_one_before(seed: int) -> None:
    conversation = Conversation()
    dice = random.Random(seed)  # noqa: S311
    for _ in range(40):
        conversation.say(random_text(dice, 20), random_text(dice, 30))

    for before, plan in pairwise(conversation.plans):
        if plan.turns_dropped == before.turns_dropped:
            assert plan.messages[: len(before.messages)] == before.messages


def test_the_window_is_the_threads_but_never_more_than_the_models() -> None:
    assert Conversation(options={"num_ctx": 600}).say("Hello").num_ctx == 600
    assert Conversation(options={"num_ctx": 4096}).say("Hello").num_ctx == WINDOW
    assert Conversation().say("Hello").num_ctx == WINDOW


@pytest.mark.parametrize(("num_predict", "room"), [(None, 256), (100, 100), (4000, 512)])
def test_the_reply_has_room(num_predict: int | None, room: int) -> None:
    options = {} if num_predict is None else {"num_predict": num_predict}
    conversation = random_conversation(1, options=options)

    assert max(plan.tokens for plan in conversation.plans) <= WINDOW - room
    assert any(plan.turns_dropped for plan in conversation.plans)


def test_a_long_replys_room_leaves_the_conversation_room_to_grow() -> None:
    plans = random_conversation(1, options={"num_predict": 4000}).plans

    starts = [plan.start for plan in plans]
    stays = sum(start == next_start for start, next_start in pairwise(starts))
    assert stays >= len(starts) // 2


def test_a_message_that_does_not_fit_is_refused_with_how_much_is_too_much() -> None:
    conversation = Conversation()

    with pytest.raises(ApiError) as refusal:
        conversation.say("word " * 1000)

    much = estimate("word " * 1000) + prompt_window.front_size(conversation.thread) - 768
    assert refusal.value.status == 400
    assert refusal.value.message == (
        "With the system prompt and room for an answer, the message is about "
        f"{much} tokens too long for the model's window of 1024."
    )


def test_a_system_prompt_that_leaves_no_room_is_named_as_the_cause() -> None:
    conversation = Conversation()
    conversation.thread.system_prompt = "word " * 1000

    with pytest.raises(ApiError, match=r"system prompt is about 1\d{3} tokens too long") as error:
        conversation.say("Hello")

    assert error.value.fields is None


def test_a_long_message_leaves_the_newest_turns_half_of_the_room_beside_it() -> None:
    conversation = Conversation()
    for _ in range(12):
        conversation.say("word " * 20)

    plan = conversation.say("word " * 260)

    assert 0 < len(plan.turns) < 12
    assert plan.tokens <= 768


def test_a_wider_window_brings_dropped_turns_back() -> None:
    conversation = random_conversation(3, turns=20)
    assert conversation.plans[-1].turns_dropped

    plan = conversation.say("Hello", window=8192)

    assert plan.turns_dropped == 0


def test_a_stopped_reply_without_a_word_leaves_its_question() -> None:
    conversation = Conversation()
    conversation.say("One", "", MessageStatus.STOPPED)

    assert [message["content"] for message in conversation.say("Two").messages] == [
        "Be brief.",
        "One",
        "Two",
    ]

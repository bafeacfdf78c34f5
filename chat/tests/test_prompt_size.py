"""How many tokens a prompt is taken for: Ollama's counts of earlier replies, and estimates."""

import pytest

from chat.prompt.estimate import estimate
from chat.tests.conversation import Conversation
from core.errors import ApiError


def chinese(conversation: Conversation, number: int) -> None:
    """Have a conversation whose model has 0.7 tokens for each character."""
    tokens = 20
    for _ in range(number):
        tokens += 28
        conversation.say("模" * 20, "型" * 20, prompt_tokens=tokens - 14, completion_tokens=14)


def test_counts_correct_the_estimate_of_a_new_text_in_the_same_script() -> None:
    fresh, learnt = Conversation(), Conversation()
    chinese(learnt, 5)

    with pytest.raises(ApiError):
        fresh.say("模" * 600)
    plan = learnt.say("模" * 600)

    assert 0.7 * 600 < plan.tokens <= 768
    assert len(plan.turns) > 0


def test_counts_do_not_correct_the_estimate_of_another_script() -> None:
    conversation = Conversation()
    chinese(conversation, 5)

    for text in ("🎉" * 400, "ก" * 600, "1 " * 600):
        with pytest.raises(ApiError):
            conversation.say(text)


def test_counts_of_words_do_not_correct_the_estimate_of_digits_and_passwords() -> None:
    conversation = Conversation()
    for number in range(1, 6):
        conversation.say("word " * 60, "word " * 20, prompt_tokens=100 * number - 25)

    for text in ("7" * 750, "xK9qZ" * 150):
        with pytest.raises(ApiError):
            conversation.say(text)


@pytest.mark.parametrize("num_predict", [1, 64, None])
def test_there_is_room_for_the_error_of_an_estimate(num_predict: int | None) -> None:
    conversation = Conversation(options={"num_predict": num_predict} if num_predict else {})

    with pytest.raises(ApiError):
        conversation.say("1 " * 460)


def test_counts_of_earlier_replies_replace_the_estimate() -> None:
    conversation = Conversation()
    words = "word " * 100
    conversation.say(words, prompt_tokens=500, completion_tokens=7)

    assert conversation.say("Hello").tokens == 507 + estimate("Hello")


def test_counts_of_another_model_or_system_prompt_are_not_believed() -> None:
    for change in ({"model": "tiny"}, {"system_prompt": "Be long."}):
        conversation = Conversation()
        conversation.say("word " * 100, prompt_tokens=1, completion_tokens=1)
        for name, value in change.items():
            setattr(conversation.thread, name, value)
        assert conversation.say("Hello").tokens > 100


def test_what_a_model_thought_does_not_count_in_the_next_prompt() -> None:
    conversation = Conversation()
    conversation.say("Hello", "Yes.", thinking="h m " * 300, completion_tokens=600)

    plan = conversation.say("And now?")

    assert plan.tokens < 200
    assert "h m" not in str(plan.messages)


def test_a_count_that_is_less_than_the_one_before_is_not_believed() -> None:
    """Ollama cuts what is too long to half a window, and then counts what it has left."""
    conversation = Conversation()
    conversation.say("word " * 100, prompt_tokens=400, completion_tokens=100)
    conversation.say("word " * 50, prompt_tokens=90, completion_tokens=10)

    assert conversation.say("Hello").tokens > 500

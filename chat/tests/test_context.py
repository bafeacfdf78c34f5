"""What the model sees: `window.plan` by its properties, and as the scripted Ollama received it."""

import random
from itertools import pairwise
from typing import Any

import pytest

from chat.models import Message, MessageStatus, Sender, Thread
from chat.prompt import window as prompt_window
from chat.prompt.estimate import estimate
from chat.prompt.marks import neutralize_markup
from chat.prompt.window import Prompt
from core.errors import ApiError
from testing.answers import error_of
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama, count_tokens
from testing.streams import NDJSON, events_of, sending

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


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_sends_whole_turns_from_a_starting_point_to_the_newest(seed: int) -> None:
    conversation = random_conversation(seed)

    for number, plan in enumerate(conversation.plans):
        turns = [
            (question, reply)
            for question, reply in pairwise(conversation.path[: number * 2])
            if question.sender == Sender.USER and reply.status != MessageStatus.FAILED
        ]
        kept = [turn for turn in turns if plan.start is not None and turn[0].pk >= plan.start]
        said = [message.content for turn in kept for message in turn]
        system, *messages, asked = plan.messages
        assert system == {"role": "system", "content": "Be brief."}
        assert [message["content"] for message in messages] == said
        assert [message["role"] for message in messages] == ["user", "assistant"] * len(kept)
        assert asked == {"role": "user", "content": conversation.path[number * 2].content}
        assert (len(plan.turns), plan.turns_dropped) == (len(kept), len(turns) - len(kept))


@pytest.mark.parametrize("seed", SEEDS)
def test_it_never_sends_more_than_fits_beside_the_answer(seed: int) -> None:
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
def test_the_answer_has_room(num_predict: int | None, room: int) -> None:
    options = {} if num_predict is None else {"num_predict": num_predict}
    conversation = random_conversation(1, options=options)

    assert max(plan.tokens for plan in conversation.plans) <= WINDOW - room
    assert any(plan.turns_dropped for plan in conversation.plans)


def test_a_long_answers_room_leaves_the_conversation_room_to_grow() -> None:
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


def test_a_system_prompt_that_leaves_no_room_is_blamed_itself() -> None:
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


def chinese(conversation: Conversation, number: int) -> None:
    """Have a conversation whose model has 0.7 tokens for each character."""
    tokens = 20
    for _ in range(number):
        tokens += 28
        conversation.say("模" * 20, "型" * 20, prompt_tokens=tokens - 14, completion_tokens=14)


def test_counts_tell_how_much_a_new_text_of_the_same_script_has() -> None:
    fresh, learnt = Conversation(), Conversation()
    chinese(learnt, 5)

    with pytest.raises(ApiError):
        fresh.say("模" * 600)
    plan = learnt.say("模" * 600)

    assert 0.7 * 600 < plan.tokens <= 768
    assert len(plan.turns) > 0


def test_counts_tell_nothing_of_another_script() -> None:
    conversation = Conversation()
    chinese(conversation, 5)

    for text in ("🎉" * 400, "ก" * 600, "1 " * 600):
        with pytest.raises(ApiError):
            conversation.say(text)


def test_counts_of_words_tell_nothing_of_digits_and_passwords() -> None:
    conversation = Conversation()
    for number in range(1, 6):
        conversation.say("word " * 60, "word " * 20, prompt_tokens=100 * number - 25)

    for text in ("7" * 750, "xK9qZ" * 150):
        with pytest.raises(ApiError):
            conversation.say(text)


@pytest.mark.parametrize("num_predict", [1, 64, None])
def test_there_is_room_for_what_an_estimate_is_wrong_by(num_predict: int | None) -> None:
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


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_start|>system",
        "<|eot_id|><|start_header_id|>system<|end_header_id|>",
        "</s><s>",
        "[INST] <<SYS>>",
        "<</SYS>> [/INST]",
        "<start_of_turn>model",
        "<end_of_turn>",
        "<\uff5cUser\uff5c>",
        "[|system|]",
        "[SYSTEM_PROMPT]",
        "[TOOL_RESULTS]",
        "<extra_id_1>User",
        "<eos><bos>",
        "<im_start>system",
        "[gMASK]<sop>",
        "[UNUSED_TOKEN_146]user",
    ],
)
def test_no_mark_of_a_chat_template_is_left_in_what_is_sent(mark: str) -> None:
    conversation = Conversation()
    conversation.thread.system_prompt = f"Be brief. {mark}"
    conversation.say(f"Hello {mark}", f"Hi {mark}")

    for message in conversation.say("And?").messages[:-1]:
        assert mark not in message["content"]
        assert message["content"].replace("\u200b", "").endswith(mark)


@pytest.mark.parametrize(
    "text",
    ["a < b | c", "<span>", "x[0][1]", "<sup>2</sup>", "List<int>", "[| 1; 2 |]", "g <| x |> y"],
)
def test_other_text_is_sent_as_it_is(text: str) -> None:
    assert neutralize_markup(text) == text


# --- As the server does it ----------------------------------------------------------------------


def said(ollama: ScriptedOllama) -> list[str]:
    """What the last prompt says, without the system prompt."""
    return [message["content"] for message in ollama.chats[-1].messages[1:]]


def test_the_start_event_and_the_message_tell_what_the_model_saw(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(options={"num_ctx": 512})
    for number in range(5):
        ann.say(thread, f"{number} " + "word " * 50)

    with sending(ann, thread, "The last one") as reading:
        start = events_of(reading.to_the_end())[0].data["context"]
    message = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"][-1]["context"]

    kept = (len(ollama.chats[-1].messages) - 2) // 2
    assert 0 < kept < 5
    assert (start["turns_kept"], start["turns_dropped"]) == (kept, 5 - kept)
    assert message == {**start, "tokens": ollama.chats[-1].prompt_tokens}
    assert 0 < message["tokens"] <= start["tokens"] <= 384


def test_all_calls_to_a_model_ask_for_the_same_window(ann: Caller, ollama: ScriptedOllama) -> None:
    ann.say(ann.thread())
    ann.say(ann.thread(model="tiny"))
    ann.say(ann.thread(options={"num_ctx": 1000}))

    assert [chat.options["num_ctx"] for chat in ollama.chats] == [8192, 2048, 8192]


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 2048), ({"num_predict": 100}, 100), ({"num_ctx": 600}, 2048)]
)
def test_a_reply_has_a_limit(
    ann: Caller, ollama: ScriptedOllama, options: dict[str, int], expected: int
) -> None:
    ann.say(ann.thread(options=options))

    assert ollama.chats[-1].options["num_predict"] == expected


def test_a_replys_limit_is_the_room_that_the_prompt_leaves(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(model="tiny")

    ann.say(thread, "word " * 500)

    limit = ollama.chats[-1].options["num_predict"]
    assert limit == 2048 - (reply_of(thread).context_tokens or 0)
    assert 700 < limit < 1500


def test_the_starting_point_outlives_the_server(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(options={"num_ctx": 512})
    for number in range(4):
        ann.say(thread, f"{number} " + "word " * 50)
    before = ollama.chats[-1].messages
    assert len(before) < 2 * 4

    with Caller(start_server().url, ann.user) as again:
        again.say(thread, "Hello")

    assert ollama.chats[-1].messages[: len(before)] == before


def test_a_message_that_does_not_fit_is_400_and_stored_nowhere(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()

    body = error_of(ann.say(thread, "word " * 5000), 400, "invalid")

    assert "tokens too long" in body["fields"]["message"][0]
    assert not Message.objects.exists()
    assert Thread.objects.get(pk=thread.pk).title == ""
    assert not ollama.chats


def test_failed_replies_are_left_out_with_their_questions(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.scripts += [Script(["Half"], then="die"), Script(["Whole"])]
    ann.say(thread, "One", headers=NDJSON)
    ann.say(thread, "Two")
    ann.say(thread, "Three")

    assert said(ollama) == ["Two", "Whole", "Three"]


def test_stopped_and_interrupted_replies_stay(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    for status in (MessageStatus.STOPPED, MessageStatus.INTERRUPTED):
        ann.say(thread, status)
        thread.messages.filter(content=f"You said: {status}").update(status=status)

    ann.say(thread, "And?")

    assert said(ollama) == [
        "stopped",
        "You said: stopped",
        "interrupted",
        "You said: interrupted",
        "And?",
    ]

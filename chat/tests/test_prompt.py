"""The prompt as the server sends it to the model."""

import pytest

from chat.models import Message, MessageStatus, Thread
from testing.answers import error_of
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, events_of, sending


def messages_of_the_last_prompt(ollama: ScriptedOllama) -> list[str]:
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
    assert [name for name, _ in ollama.loading.log] == ["llama3.2:latest", "tiny:latest"]


def test_a_thread_with_a_window_of_its_own_waits_for_no_other_thread(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(["one", "two"], hold_after=1))
    with sending(ann, ann.thread()) as reading:
        reading.until("one")
        ollama.loading.seconds = 60

        assert ann.say(ann.thread(options={"num_ctx": 1000})).text == "You said: Hello"

        ollama.loading.seconds = 0
        ollama.release()
        reading.to_the_end()


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


def test_failed_replies_are_left_out_of_the_prompt_with_their_questions(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.scripts += [Script(["Half"], then="die"), Script(["Whole"])]
    ann.say(thread, "One", headers=NDJSON)
    ann.say(thread, "Two")
    ann.say(thread, "Three")

    assert messages_of_the_last_prompt(ollama) == ["Two", "Whole", "Three"]


def test_stopped_and_interrupted_replies_stay_in_the_prompt(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    for status in (MessageStatus.STOPPED, MessageStatus.INTERRUPTED):
        ann.say(thread, status)
        thread.messages.filter(content=f"You said: {status}").update(status=status)

    ann.say(thread, "And?")

    assert messages_of_the_last_prompt(ollama) == [
        "stopped",
        "You said: stopped",
        "interrupted",
        "You said: interrupted",
        "And?",
    ]

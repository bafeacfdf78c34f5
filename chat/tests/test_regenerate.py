"""POST /chat/threads/<id>/regenerate/: one more reply to the same question."""

from typing import Any

import httpx
import pytest

from chat.models import Message, Sender, Thread
from testing.answers import error_of, refusal
from testing.people import Caller, create_user
from testing.processes import StartServer
from testing.replies import is_as_it_was
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, SSE, events_of, sending, text_of
from testing.trees import grow


def regenerate(
    caller: Caller, thread: Thread, headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    url = f"/chat/threads/{thread.pk}/regenerate/"
    return caller.post(url, json=body or None, headers=headers)


def messages_of(caller: Caller, thread: Thread) -> list[dict[str, Any]]:
    """Return the messages of the current branch."""
    messages: list[dict[str, Any]]
    messages = caller.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    return messages


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages]


@pytest.fixture
def thread(ann: Caller) -> Thread:
    """A thread with two turns, as it is stored."""
    thread = ann.thread()
    ann.say(thread, "One")
    ann.say(thread, "Two")
    return Thread.objects.get(pk=thread.pk)


@pytest.fixture
def messages(thread: Thread) -> list[Message]:
    return list(thread.messages.order_by("pk"))


def test_the_last_question_is_answered_again_and_not_repeated(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Well"])

    answer = regenerate(ann, thread)

    assert (answer.status_code, answer.text) == (200, "Well")
    assert ollama.chats[-1].messages == ollama.chats[-2].messages
    found = messages_of(ann, thread)
    assert contents(found) == ["One", "You said: One", "Two", "Well"]
    assert found[3]["sibling_ids"] == [messages[3].pk, int(answer.headers["Reply-Id"])]
    assert found[3]["parent_id"] == messages[2].pk
    assert ann.get(f"/chat/threads/{thread.pk}/").json()["current_message_id"] == found[3]["id"]


@pytest.mark.parametrize("named", [0, 1], ids=["its question", "the reply"])
def test_an_earlier_reply_is_regenerated_by_its_id(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama, named: int
) -> None:
    ollama.script = Script(["Well"])

    regenerate(ann, thread, message_id=messages[named].pk)

    assert contents(messages_of(ann, thread)) == ["One", "Well"]
    assert [message["content"] for message in ollama.chats[-1].messages[1:]] == ["One"]


def test_the_last_reply_of_the_current_branch_is_regenerated_without_an_id(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    body = {"message": "Un", "parent_id": None}
    ann.post(f"/chat/streaming-response/{thread.pk}/", json=body)
    ann.put(f"/chat/threads/{thread.pk}/branch/", json={"message_id": messages[3].pk})
    ollama.script = Script(["Well"])

    regenerate(ann, thread)

    assert contents(messages_of(ann, thread)) == ["One", "You said: One", "Two", "Well"]


def test_the_next_message_follows_the_new_reply(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(["Well"]))
    regenerate(ann, thread)

    ann.say(thread, "Three")

    seen = [message["content"] for message in ollama.chats[-1].messages[1:]]
    assert seen == ["One", "You said: One", "Two", "Well", "Three"]


def test_another_model_and_options_are_for_this_reply_only(
    ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> None:
    regenerate(ann, thread, model="tiny", options={"temperature": 1.5, "seed": 7})
    ann.say(thread, "Three")

    again, after = ollama.chats[-2:]
    assert again.body["model"] == "tiny"
    assert (again.options["temperature"], again.options["seed"]) == (1.5, 7)
    assert after.body["model"] == thread.model
    assert "temperature" not in after.options
    models = [message["model"] for message in messages_of(ann, thread)]
    assert models == [None, thread.model, None, "tiny", None, thread.model]
    assert Thread.objects.get().options == {}


def test_options_are_added_to_those_of_the_thread(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread(options={"seed": 1, "top_k": 5})
    ann.say(thread, "One")

    regenerate(ann, thread, options={"seed": 2})

    assert (ollama.chats[-1].options["seed"], ollama.chats[-1].options["top_k"]) == (2, 5)
    assert Thread.objects.get().options == {"seed": 1, "top_k": 5}


def test_a_reply_in_a_format_is_regenerated_in_it(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    body = {"message": "One", "format": "json"}
    ann.post(f"/chat/response/{thread.pk}/", json=body)

    regenerate(ann, thread)

    assert [chat.body["format"] for chat in ollama.chats] == ["json", "json"]


@pytest.mark.parametrize("form", [SSE, NDJSON], ids=["SSE", "NDJSON"])
def test_a_regenerated_reply_comes_in_the_forms_of_a_send(
    ann: Caller, thread: Thread, messages: list[Message], form: dict[str, str]
) -> None:
    answer = regenerate(ann, thread, form)

    assert answer.headers["Content-Type"].startswith(form["Accept"])
    if form == SSE:
        events = events_of(answer.text)
        assert text_of(events) == "You said: Two"
        assert events[0].data["message_id"] == messages[2].pk
        assert events[-1].data["status"] == "complete"


@pytest.mark.parametrize("form", [{}, SSE], ids=["text", "events"])
def test_a_model_that_fails_at_once_leaves_the_branch_that_was_current(
    ann: Caller,
    thread: Thread,
    messages: list[Message],
    ollama: ScriptedOllama,
    form: dict[str, str],
) -> None:
    before = Thread.objects.values().get()
    ollama.script = Script(status=500)

    answer = regenerate(ann, thread, form, message_id=messages[1].pk)

    assert "model_unavailable" in answer.text
    assert Thread.objects.values().get() == before
    assert is_as_it_was(thread)
    assert list(thread.messages.order_by("pk")) == messages


def test_a_question_whose_reply_was_deleted_is_answered(
    ann: Caller, thread: Thread, messages: list[Message]
) -> None:
    ann.delete(f"/chat/threads/{thread.pk}/messages/{messages[3].pk}/")
    assert contents(messages_of(ann, thread)) == ["One", "You said: One", "Two"]

    assert regenerate(ann, thread).text == "You said: Two"

    assert contents(messages_of(ann, thread)) == ["One", "You said: One", "Two", "You said: Two"]


def test_a_question_without_a_reply_stays_where_the_model_fails(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    ann.delete(f"/chat/threads/{thread.pk}/messages/{messages[3].pk}/")
    ollama.script = Script(status=500)

    regenerate(ann, thread)

    assert contents(messages_of(ann, thread)) == ["One", "You said: One", "Two"]


def test_a_key_regenerates_a_reply_once(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    key = {"Idempotency-Key": "k"}

    answers = [regenerate(ann, thread, key) for _ in range(2)]

    assert len({answer.headers["Reply-Id"] for answer in answers}) == 1
    assert len(ollama.chats) == 3
    again = regenerate(ann, thread, key, message_id=messages[1].pk)
    assert refusal(again) == (409, "idempotency_key_reused")


class TestRefusals:
    def test_a_thread_without_messages_has_nothing_to_regenerate(self, ann: Caller) -> None:
        error_of(regenerate(ann, ann.thread()), 409, "nothing_to_regenerate")

    def test_a_reply_to_nothing_has_no_question(self, ann: Caller) -> None:
        thread = ann.thread()
        Message.objects.create(thread=thread, sender=Sender.BOT, content="Welcome!")

        error_of(regenerate(ann, thread), 409, "nothing_to_regenerate")

    def test_a_thread_has_one_running_reply_at_a_time(
        self, ann: Caller, thread: Thread, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(["one ", "two "], hold_after=1)
        with sending(ann, thread) as reading:
            reading.until("one")
            error_of(regenerate(ann, thread), 409, "reply_in_progress")
            ollama.release()
            reading.to_the_end()

    def test_a_model_that_ollama_does_not_have_is_refused(
        self, ann: Caller, thread: Thread
    ) -> None:
        body = error_of(regenerate(ann, thread, model="nope"), 400, "invalid")

        assert "llama3.2:latest" in body["fields"]["model"][0]
        assert thread.messages.count() == 4

    @pytest.mark.parametrize("options", [{"temperature": 3}, {"mirostat": 1}])
    def test_options_that_a_thread_may_not_have_are_refused_too(
        self, ann: Caller, thread: Thread, options: dict[str, int]
    ) -> None:
        error_of(regenerate(ann, thread, options=options), 400, "invalid")

    @pytest.mark.parametrize("whose", ["another thread", "another user", "nobody"])
    def test_ids_of_other_threads_are_not_found(
        self, ann: Caller, bob: Caller, thread: Thread, whose: str
    ) -> None:
        owner = {"another thread": ann, "another user": bob}.get(whose)
        foreign = grow(owner.thread(), [None, 0])[1].pk if owner else 2**62

        error_of(regenerate(ann, thread, message_id=foreign), 404, "not_found")
        assert thread.messages.count() == 4

    def test_an_allowance_that_is_used_up_regenerates_nothing(
        self, start_server: StartServer
    ) -> None:
        server = start_server(CHAT_DAILY_TOKENS="5")
        with Caller(server.url, create_user("ann")) as ann:
            thread = ann.thread()
            ann.say(thread)

            error_of(regenerate(ann, thread), 429, "quota_exceeded")

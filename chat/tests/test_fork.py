"""POST /chat/threads/<id>/fork/: a thread of its own, with the messages up to one."""

from typing import Any

import httpx
import pytest

from chat.models import Message, Thread, Usage
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.trees import chain, grow


def fork(caller: Caller, thread: Thread, message: int) -> httpx.Response:
    return caller.post(f"/chat/threads/{thread.pk}/fork/", json={"message_id": message})


def messages_of(caller: Caller, thread: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = caller.get(f"/chat/threads/{thread}/messages/").json()[
        "messages"
    ]
    return messages


def test_a_fork_has_the_messages_up_to_one_and_the_settings_of_its_thread(ann: Caller) -> None:
    thread = ann.thread(
        title="Llamas",
        title_is_given=True,
        model="tiny",
        system_prompt="Be brief.",
        options={"seed": 1},
    )
    ann.say(thread, "One")
    ann.say(thread, "Two")
    original = messages_of(ann, thread.pk)

    answer = fork(ann, thread, original[1]["id"])

    assert answer.status_code == 201
    made = answer.json()["thread"]
    assert made["id"] == answer.json()["thread_id"] != thread.pk
    of_thread = ann.get(f"/chat/threads/{thread.pk}/").json()
    for name in ("title", "model", "system_prompt", "options"):
        assert made[name] == of_thread[name]
    copies = messages_of(ann, made["id"])
    assert made["current_message_id"] == copies[-1]["id"]
    for copy, message in zip(copies, original[:2], strict=True):
        assert copy["id"] != message["id"]
        for name in ("sender", "content", "status", "created_at", "model", "usage", "context"):
            assert copy[name] == message[name]
    assert [copy["parent_id"] for copy in copies] == [None, copies[0]["id"]]
    assert ann.get("/chat/threads/").json()["threads"][0]["id"] == made["id"]


def test_a_thread_and_its_fork_know_nothing_of_each_other(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ann.say(thread, "One")
    copy = fork(ann, thread, thread.messages.latest("pk").pk).json()["thread_id"]

    ann.say(Thread.objects.get(pk=copy), "Two")

    said = [message["content"] for message in ollama.chats[-1].messages[1:]]
    assert said == ["One", "You said: One", "Two"]
    ann.delete(f"/chat/threads/{thread.pk}/delete/")
    assert [message["content"] for message in messages_of(ann, copy)] == [*said, "You said: Two"]


def test_the_usage_of_copied_replies_is_not_counted_again(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "One")
    used = Usage.objects.values().get()

    fork(ann, thread, thread.messages.latest("pk").pk)

    assert Usage.objects.values().get() == used


def test_only_the_branch_of_the_message_is_copied(ann: Caller) -> None:
    tree = grow(ann.thread(), [None, 0, 1, 0, 3])

    copy = fork(ann, tree[0].thread, tree[4].pk).json()["thread_id"]

    assert [message["content"] for message in messages_of(ann, copy)] == ["0", "3", "4"]
    assert Message.objects.filter(thread=copy).count() == 3


def test_a_reply_that_is_being_written_is_not_copied(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("one")
        question, reply = thread.messages.order_by("pk")
        error_of(fork(ann, thread, reply.pk), 409, "reply_in_progress")
        assert fork(ann, thread, question.pk).status_code == 201
        ollama.release()
        reading.to_the_end()
    assert fork(ann, thread, reply.pk).status_code == 201


@pytest.mark.parametrize("message", [1, 9_999])
def test_a_thread_of_ten_thousand_messages_is_copied(ann: Caller, message: int) -> None:
    tree = grow(ann.thread(), chain(10_000))

    copy = fork(ann, tree[0].thread, tree[message].pk).json()["thread_id"]

    copies = Message.objects.filter(thread=copy).order_by("pk")
    assert list(copies.values_list("content", flat=True)) == [str(n) for n in range(message + 1)]
    assert messages_of(ann, copy)[-1]["content"] == str(message)

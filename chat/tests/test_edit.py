"""Editing a message: another is sent with the same parent, and becomes the current branch."""

from typing import Any

import httpx
import pytest

from chat.models import Message, Thread
from testing.answers import refusal
from testing.people import Caller
from testing.replies import is_as_it_was
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, path_of


def edit(caller: Caller, thread: Thread, text: str, parent: int | None, **headers: str) -> Any:
    body = {"message": text, "parent_id": parent}
    return caller.post(path_of(thread), json=body, headers=headers)


def branch_of(caller: Caller, thread: Thread) -> list[str]:
    """Return what the messages of the current branch say."""
    answer = caller.get(f"/chat/threads/{thread.pk}/messages/")
    return [message["content"] for message in answer.json()["messages"]]


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


def test_another_wording_is_a_sibling_on_the_current_branch(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    answer = edit(ann, thread, "Deux", messages[1].pk)

    assert answer.text == "You said: Deux"
    assert branch_of(ann, thread) == ["One", "You said: One", "Deux", "You said: Deux"]
    seen = [message["content"] for message in ollama.chats[-1].messages[1:]]
    assert seen == ["One", "You said: One", "Deux"]
    page = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert page[2]["sibling_ids"] == [messages[2].pk, page[2]["id"]]


def test_another_first_message_begins_the_thread_anew(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    edit(ann, thread, "Un", None)

    assert branch_of(ann, thread) == ["Un", "You said: Un"]
    assert [message["content"] for message in ollama.chats[-1].messages[1:]] == ["Un"]
    assert Thread.objects.get().title == "One"


def test_the_next_message_follows_the_new_wording(
    ann: Caller, thread: Thread, messages: list[Message]
) -> None:
    edit(ann, thread, "Deux", messages[1].pk)
    ann.say(thread, "Three")

    assert branch_of(ann, thread)[2:] == ["Deux", "You said: Deux", "Three", "You said: Three"]


@pytest.mark.parametrize("form", [{}, SSE], ids=["text", "events"])
@pytest.mark.parametrize("parent", [1, None], ids=["the second message", "the first"])
def test_a_model_that_fails_at_once_leaves_the_branch_that_was_current(
    ann: Caller,
    thread: Thread,
    messages: list[Message],
    ollama: ScriptedOllama,
    parent: int | None,
    form: dict[str, str],
) -> None:
    ann.put(f"/chat/threads/{thread.pk}/branch/", json={"message_id": messages[1].pk})
    before = Thread.objects.values().get()
    ollama.script = Script(status=500)

    parent_id = None if parent is None else messages[parent].pk
    answer = edit(ann, thread, "Deux", parent_id, **form)

    assert "model_unavailable" in answer.text
    assert Thread.objects.values().get() == before
    assert is_as_it_was(thread)
    assert list(thread.messages.order_by("pk")) == messages


def test_the_newest_branch_left_is_current_where_the_one_before_was_deleted_meanwhile(
    ann: Caller, thread: Thread, messages: list[Message], ollama: ScriptedOllama
) -> None:
    edit(ann, thread, "Un", None)
    current = thread.messages.latest("pk")
    ollama.script = Script(first_token_after=1, status=500)
    with ann.stream(
        "POST", path_of(thread), json={"message": "Eins", "parent_id": None}, headers=SSE
    ) as response:
        ollama.wait_for_open(1)
        assert current.parent_id
        deletion = ann.delete(f"/chat/threads/{thread.pk}/messages/{current.parent_id}/")
        assert deletion.status_code == 200
        assert "model_unavailable" in response.read().decode()

    assert branch_of(ann, thread) == ["One", "You said: One", "Two", "You said: Two"]
    assert Thread.objects.get().current_message_id == messages[3].pk


def test_a_parent_that_was_deleted_is_refused(
    ann: Caller, thread: Thread, messages: list[Message]
) -> None:
    ann.delete(f"/chat/threads/{thread.pk}/messages/{messages[1].pk}/")

    answer: httpx.Response = edit(ann, thread, "Deux", messages[1].pk)

    assert refusal(answer) == (400, "invalid")
    assert "parent_id" in answer.json()["fields"]

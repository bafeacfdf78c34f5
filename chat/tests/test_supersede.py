"""A send takes the place of a running reply that nobody reads any more."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.db.models import Q

from chat.models import Message, Thread
from chat.replies import actions, store
from chat.replies.drafts import Draft
from chat.replies.readers import ABANDONED_AFTER, find_abandoned
from chat.replies.registry import Registry
from chat.replies.store import StartedReply
from chat.tests.in_process import until
from testing.answers import refusal
from testing.people import Caller
from testing.replies import reply_of, wait_for_checkpoints, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import following, path_of, sending
from testing.waiting import wait_until

IN_PROGRESS = (409, "reply_in_progress")
THREE_SECONDS = 4  # checkpoints, in which a reply that nobody reads would have made way


@pytest.fixture(params=["here", "there"])
def next_sender(request: pytest.FixtureRequest, ann: Caller, there: Caller) -> Caller:
    """Ann by way of the process that writes the reply, and of another."""
    return ann if request.param == "here" else there


@pytest.fixture(autouse=True)
def held(ollama: ScriptedOllama) -> None:
    """Of the replies, the first is held after two words."""
    ollama.scripts.append(Script(["one ", "two ", "three "], hold_after=2))


def prompted(ollama: ScriptedOllama) -> list[str]:
    """Return what the last prompt says, without the system prompt."""
    return [message["content"] for message in ollama.chats[-1].messages[1:]]


def say_until_accepted(caller: Caller, thread: Thread, message: str) -> httpx.Response:
    """Send a message once the running reply makes way for it; return the answer."""
    answers: list[httpx.Response] = []

    def is_accepted() -> bool:
        answers.append(caller.say(thread, message))
        return answers[-1].status_code == 200 or refusal(answers[-1]) != IN_PROGRESS

    wait_until(is_accepted, 10)
    return answers[-1]


def test_a_reply_makes_way_two_seconds_after_its_reader_left(
    ann: Caller, next_sender: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    with sending(ann, thread, "Count") as reading:
        reading.until("two")
    left_at = time.monotonic()

    answer = say_until_accepted(next_sender, thread, "And now?")

    assert time.monotonic() - left_at > ABANDONED_AFTER.total_seconds()
    assert answer.text == "You said: And now?"
    assert prompted(ollama) == ["Count", "one two ", "And now?"]
    statuses = list(thread.messages.order_by("pk").values_list("content", "status"))
    assert statuses[1] == ("one two ", "stopped")
    ollama.wait_for_open(0)


def test_a_reply_does_not_make_way_as_soon_as_its_reader_has_left(
    ann: Caller, next_sender: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("two")

    assert refusal(next_sender.say(thread)) == IN_PROGRESS
    assert ollama.open == 1
    ollama.release()
    wait_for_status(thread, "complete")


def test_a_reply_that_somebody_reads_does_not_make_way(
    ann: Caller, next_sender: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("two")
        wait_for_checkpoints(thread, THREE_SECONDS)

        assert refusal(next_sender.say(thread)) == IN_PROGRESS
        ollama.release()
        reading.to_the_end()


@pytest.mark.parametrize("path", ["/chat/response/{}/", "/chat/streaming-response/{}/"])
@pytest.mark.parametrize("written", [0, 2], ids=["without a word yet", "with some words"])
def test_whoever_aborts_a_send_has_left(
    ann: Caller, next_sender: Caller, ollama: ScriptedOllama, path: str, written: int
) -> None:
    ollama.scripts.clear()
    ollama.scripts.append(Script(["one ", "two ", "three "], hold_after=written))
    thread = ann.thread()
    with Caller(str(ann.base_url), ann.user) as tab, pytest.raises(httpx.ReadTimeout):
        url, body = path.format(thread.pk), {"message": "Count"}
        tab.post(url, json=body, timeout=httpx.Timeout(5, read=0.5)).read()

    assert say_until_accepted(next_sender, thread, "And now?").text == "You said: And now?"
    assert prompted(ollama) == ["Count", *["one two "] * (written > 0), "And now?"]


@pytest.mark.parametrize("call", ["regenerate", "edit"])
def test_an_edit_and_a_regeneration_take_the_place_of_a_reply_that_nobody_reads(
    ann: Caller, there: Caller, ollama: ScriptedOllama, call: str
) -> None:
    thread = ann.thread()
    with sending(ann, thread, "Count") as reading:
        reading.until("two")
    wait_until(lambda: find_abandoned(thread.pk), 10)

    if call == "regenerate":
        answer = there.post(f"/chat/threads/{thread.pk}/regenerate/")
    else:
        answer = there.post(path_of(thread), json={"message": "Count", "parent_id": None})

    assert answer.text == "You said: Count"
    assert prompted(ollama) == ["Count"]
    assert Message.objects.get(content="one two ").status == "stopped"


class TestReadersElsewhere:
    """Readers in another process than the one that writes the reply."""

    @pytest.fixture
    def thread(self, ann: Caller, there: Caller) -> Iterator[Thread]:
        """A thread whose reply somebody reads there, and nobody any more here."""
        thread = ann.thread()
        with sending(ann, thread) as reading:
            reading.until("two")
            following_there = following(there, thread)
            staying = following_there.__enter__()
            staying.until("two")
        yield thread
        following_there.__exit__(None, None, None)

    def test_readers_in_another_process_keep_a_reply_from_making_way(
        self, thread: Thread, next_sender: Caller, ollama: ScriptedOllama
    ) -> None:
        wait_for_checkpoints(thread, THREE_SECONDS)

        assert refusal(next_sender.say(thread)) == IN_PROGRESS
        assert ollama.open == 1

    def test_where_one_of_two_readers_leaves_the_other_counts(
        self, thread: Thread, there: Caller, next_sender: Caller
    ) -> None:
        with Caller(str(there.base_url), there.user) as tab, following(tab, thread) as leaving:
            leaving.until("two")
        wait_for_checkpoints(thread, THREE_SECONDS)

        assert refusal(next_sender.say(thread)) == IN_PROGRESS


def test_a_reply_makes_way_two_seconds_after_a_reader_elsewhere_left(
    ann: Caller, there: Caller, next_sender: Caller
) -> None:
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("two")
        following_there = following(there, thread)
        staying = following_there.__enter__()
        staying.until("two")
    wait_for_checkpoints(thread, 2)
    following_there.__exit__(None, None, None)

    assert say_until_accepted(next_sender, thread, "And now?").text == "You said: And now?"


def test_a_reply_in_the_background_is_for_nobody_to_read(
    ann: Caller, next_sender: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("two")
        Message.objects.filter(pk=reply_of(thread).pk).update(in_background=True)
    wait_for_checkpoints(thread, THREE_SECONDS)

    assert refusal(next_sender.say(thread)) == IN_PROGRESS
    ollama.release()
    wait_for_status(thread, "complete")


async def test_whoever_leaves_while_a_reply_is_being_started_has_left(
    draft: Draft, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, is_starting, may_start = store.start, threading.Event(), threading.Event()

    def start(*arguments: Any) -> StartedReply:
        is_starting.set()
        may_start.wait(5)
        return started(*arguments)

    monkeypatch.setattr(store, "start", start)
    thread = await Thread.objects.aget(pk=draft.thread_id)
    sending = asyncio.create_task(actions.send(draft, thread))
    await until(is_starting.is_set)
    sending.cancel()
    may_start.set()
    await until(lambda: registry.replies)

    (reply,) = registry.replies.values()
    await until(lambda: reply.unread_since)

    assert time.monotonic() - (reply.unread_since or 0) < 1
    await actions.stop_and_wait(Q(thread=draft.thread_id))

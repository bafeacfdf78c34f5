"""Everything that stops a reply: its user, and the end of the user or of the thread."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from accounts.models import User
from chat.models import Message, Thread
from testing.answers import refusal
from testing.people import PASSWORD, Caller
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, path_of, sending, text_of
from testing.waiting import wait_until

WORDS = ["one ", "two ", "three ", "four "]


def stop(caller: Caller, thread: Thread) -> str:
    answer = caller.post(f"/chat/threads/{thread.pk}/stop/")
    assert answer.status_code == 200
    return str(answer.json()["status"])


@pytest.mark.parametrize("written", [0, 2], ids=["before the first token", "in the middle"])
def test_a_stop_ends_the_request_to_the_model_within_a_second(
    ann: Caller, ollama: ScriptedOllama, written: int
) -> None:
    ollama.script = Script(WORDS, hold_after=written)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until(WORDS[written - 1] if written else "event: start")
        ollama.wait_for_open(1)
        began = time.monotonic()
        assert stop(ann, thread) == "stopped"
        ollama.wait_for_open(0, timeout=1)
        events = events_of(reading.to_the_end())

    assert time.monotonic() - began < 1
    assert ollama.chats[0].ended_by == "disconnect"
    assert text_of(events) == "".join(WORDS[:written])
    assert (events[-1].type, events[-1].data["status"]) == ("end", "stopped")
    reply = reply_of(thread)
    assert (reply.status, reply.content) == ("stopped", "".join(WORDS[:written]))


def test_a_stopped_plain_text_ends_properly(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    thread = ann.thread()

    with sending(ann, thread, Accept="text/plain") as reading:
        reading.until("two")
        stop(ann, thread)
        assert reading.to_the_end() == "one two "
    assert ann.get(path_of(thread)).text == "one two "


def test_a_stopped_thread_takes_a_new_message_at_once(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts.append(Script(WORDS, hold_after=2))
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("two")
        stop(ann, thread)

    assert ann.say(thread, "And now?").text == "You said: And now?"


def test_nothing_is_stopped_twice(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    thread = ann.thread()
    assert stop(ann, thread) == "idle"

    with sending(ann, thread) as reading:
        reading.until("two")
        assert stop(ann, thread) == "stopped"
        assert stop(ann, thread) == "idle"


def test_nobody_stops_somebody_elses_reply(
    ann: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("two")
        answer = bob.post(f"/chat/threads/{thread.pk}/stop/")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        ollama.release()
        assert text_of(events_of(reading.to_the_end())) == "".join(WORDS)


def test_a_stop_leaves_the_other_threads_alone(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    stopped, other = ann.thread(), ann.thread()

    with sending(ann, stopped) as first, sending(ann, other) as second:
        first.until("two")
        second.until("two")
        stop(ann, stopped)
        ollama.wait_for_open(1)
        ollama.release()
        assert text_of(events_of(second.to_the_end())) == "".join(WORDS)


def deactivate(ann: Caller, staff: Caller, thread: Thread) -> httpx.Response:
    return staff.post("/auth/deactivate/ann/")


def delete_account(ann: Caller, staff: Caller, thread: Thread) -> httpx.Response:
    return ann.request("DELETE", "/auth/delete/", json={"password": PASSWORD})


def delete_thread(ann: Caller, staff: Caller, thread: Thread) -> httpx.Response:
    return ann.delete(f"/chat/threads/{thread.pk}/delete/")


def delete_all_threads(ann: Caller, staff: Caller, thread: Thread) -> httpx.Response:
    return ann.delete("/chat/threads/delete/")


@pytest.mark.parametrize("end", [deactivate, delete_account, delete_thread, delete_all_threads])
def test_whatever_ends_the_user_or_the_thread_stops_the_reply(
    ann: Caller,
    staff: Caller,
    ollama: ScriptedOllama,
    end: Callable[[Caller, Caller, Thread], httpx.Response],
) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("two")
        assert end(ann, staff, thread).status_code == 200
        ollama.wait_for_open(0, timeout=1)
        events = events_of(reading.to_the_end())

    assert text_of(events) == "one two "
    assert (events[-1].type, events[-1].data["status"]) == ("end", "stopped")
    if end is deactivate:
        assert (reply_of(thread).status, reply_of(thread).content) == ("stopped", "one two ")
        assert not User.objects.get(username="ann").is_active
    else:
        wait_until(lambda: not Message.objects.exists())  # hidden at once, and deleted soon


def test_the_deletion_of_a_thread_answers_who_waits_for_its_whole_reply(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    thread = ann.thread()
    url = f"/chat/response/{thread.pk}/"

    with Caller(str(ann.base_url), ann.user) as tab, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tab.post, url, json={"message": "Hello"})
        wait_until(lambda: ollama.chats and ollama.chats[0].held)
        ann.delete(f"/chat/threads/{thread.pk}/delete/")
        answer = waiting.result(5)

    assert refusal(answer) == (404, "not_found")

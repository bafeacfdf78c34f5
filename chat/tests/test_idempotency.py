"""`Idempotency-Key`, and the one running reply a thread may have: nothing is generated twice."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import islice
from threading import Barrier

import httpx
import pytest
from django.utils import timezone

from chat.models import Message, Send, Thread
from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import StartServer, free_port
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.waiting import wait_until

KEY = {"Idempotency-Key": "d9428888-122b-11e1-b85c-61cd3cbb3210"}


@contextmanager
def tabs(caller: Caller, number: int) -> Iterator[list[Caller]]:
    """Several connections of one person, all open."""
    with ExitStack() as stack:
        url = str(caller.base_url)
        callers = [stack.enter_context(Caller(url, caller.user)) for _ in range(number)]
        for tab in callers:
            tab.get("/health/live/")
        yield callers


def at_once(
    callers: list[Caller], thread: Thread, messages: list[str], headers: dict[str, str]
) -> list[httpx.Response]:
    """Send these messages at the same moment, one a caller."""
    barrier = Barrier(len(callers))

    def send(caller: Caller, message: str) -> httpx.Response:
        barrier.wait()
        return caller.say(thread, message, headers=headers)

    with ThreadPoolExecutor(len(callers)) as pool:
        return list(pool.map(send, callers, messages))


def test_the_same_key_gives_the_same_reply(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()

    first = ann.say(thread, headers=KEY)
    again = ann.say(thread, headers=KEY)
    whole = ann.post(f"/chat/response/{thread.pk}/", json={"message": "Hello"}, headers=KEY)

    assert first.text == again.text == whole.json()["response"] == "You said: Hello"
    assert first.headers["Reply-Id"] == again.headers["Reply-Id"] == str(reply_of(thread).pk)
    assert len(ollama.chats) == 1
    assert thread.messages.count() == 2


def test_the_same_key_follows_the_reply_while_it_is_written(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    thread = ann.thread()

    with sending(ann, thread, **KEY) as reading:
        reading.until("one")
        with sending(ann, thread, Accept="text/plain", **KEY) as again:
            again.until("one ")
            ollama.release()
            assert again.to_the_end() == "one two "
    assert len(ollama.chats) == 1


def test_another_message_or_thread_under_the_same_key_is_refused(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ann.say(thread, headers=KEY)

    for answer in (ann.say(thread, "Bye", headers=KEY), ann.say(ann.thread(), headers=KEY)):
        assert refusal(answer) == (409, "idempotency_key_reused")
    assert len(ollama.chats) == 1


def test_two_users_may_use_the_same_key(ann: Caller, bob: Caller, ollama: ScriptedOllama) -> None:
    ann.say(ann.thread(), headers=KEY)

    assert bob.say(bob.thread(), "Hi", headers=KEY).text == "You said: Hi"
    assert len(ollama.chats) == 2


def test_a_key_is_forgotten_after_a_day(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    first = ann.say(thread, headers=KEY).headers["Reply-Id"]
    minute = timedelta(minutes=1)
    Send.objects.update(created_at=timezone.now() - timedelta(days=1) + minute)
    assert ann.say(thread, headers=KEY).headers["Reply-Id"] == first

    Send.objects.update(created_at=timezone.now() - timedelta(days=1) - minute)
    assert ann.say(thread, headers=KEY).headers["Reply-Id"] != first
    assert len(ollama.chats) == 2


def test_a_key_longer_than_two_hundred_characters_is_refused(ann: Caller) -> None:
    thread = ann.thread()

    assert refusal(ann.say(thread, headers={"Idempotency-Key": "k" * 201})) == (400, "invalid")
    assert ann.say(thread, headers={"Idempotency-Key": "k" * 200}).status_code == 200


def test_a_repeated_send_is_not_counted_by_the_rate_limit(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_CHAT="1/h")
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        for _ in range(3):
            assert ann.say(thread, headers=KEY).text == "You said: Hello"
        assert refusal(ann.say(thread)) == (429, "rate_limited")


@pytest.mark.parametrize("workers", [1, 2])
def test_repeats_of_the_same_moment_are_not_counted_either(
    start_server: StartServer, workers: int
) -> None:
    server = start_server(workers=workers, RATE_LIMIT_CHAT="1/h")
    with Caller(server.url, create_user("ann")) as ann, tabs(ann, 8) as callers:
        thread = ann.thread()

        answers = at_once(callers, thread, ["Hello"] * len(callers), KEY)

        assert {answer.text for answer in answers} == {"You said: Hello"}
        assert {answer.headers["Reply-Id"] for answer in answers} == {str(reply_of(thread).pk)}


def test_a_send_with_a_key_does_not_need_the_cache(start_server: StartServer) -> None:
    server = start_server(CACHE_LOCATION=f"127.0.0.1:{free_port()}")
    with Caller(server.url, create_user("ann")) as ann:
        began = time.monotonic()

        assert ann.say(ann.thread(), headers=KEY).text == "You said: Hello"

        assert time.monotonic() - began < 5


def test_the_same_key_at_the_same_moment_is_one_reply(ann: Caller, ollama: ScriptedOllama) -> None:
    with tabs(ann, 8) as callers:
        for _ in range(5):
            thread = ann.thread()
            ollama.chats.clear()
            headers = {"Idempotency-Key": f"key {thread.pk}"}

            answers = at_once(callers, thread, ["Hello"] * len(callers), headers)

            assert {answer.text for answer in answers} == {"You said: Hello"}
            assert {answer.headers["Reply-Id"] for answer in answers} == {str(reply_of(thread).pk)}
            assert len(ollama.chats) == 1


def test_of_two_messages_at_the_same_moment_one_is_refused(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Hm"], first_token_after=0.2)
    thread = ann.thread()
    with tabs(ann, 2) as callers:
        answers = at_once(callers, thread, ["this", "that"], {})

    said, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert said.text == "Hm"
    assert refusal(refused) == (409, "reply_in_progress")
    assert len(ollama.chats) == 1
    assert thread.messages.count() == 2


def test_of_many_messages_at_the_same_moment_one_wins_after_a_crash_too(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Yes"], hold_after=0)
    with tabs(ann, 8) as callers:
        for _ in range(3):
            thread = ann.thread()
            question = Message.objects.create(thread=thread, sender="user", content="Hello?")
            Message.objects.create(
                thread=thread,
                parent=question,
                sender="bot",
                status="generating",
                owner="another machine/1/x",
                heartbeat_at=timezone.now() - timedelta(minutes=1),
            )
            with ThreadPoolExecutor(len(callers)) as pool:
                sends = [pool.submit(caller.say, thread) for caller in callers]
                refused = [send.result() for send in islice(as_completed(sends), 7)]
                ollama.wait_for_open(1)
                ollama.release()

            assert {refusal(answer) for answer in refused} == {(409, "reply_in_progress")}
            assert sorted(send.result().status_code for send in sends)[0] == 200


def test_a_second_message_is_refused_until_the_reply_has_ended(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(["one ", "two "], hold_after=1))
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("one")
        assert refusal(ann.say(thread)) == (409, "reply_in_progress")
        assert ann.say(ann.thread()).status_code == 200
        ollama.release()
        reading.to_the_end()
    assert ann.say(thread).status_code == 200


def test_a_reader_who_leaves_at_once_leaves_no_reply_that_nobody_writes(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    """The client may go at any moment, also between the storing of a reply and its beginning."""
    ollama.script = Script(["Hm"])
    threads = [ann.thread() for _ in range(40)]
    left = 0
    for number, thread in enumerate(threads):
        with Caller(str(ann.base_url), ann.user) as tab:
            tab.get("/health/live/")
            try:
                tab.say(thread, timeout=httpx.Timeout(5, read=0.0005 * (number + 1)))
            except httpx.TimeoutException:
                left += 1
    assert left  # the others were answered before they could go

    # Neither is one stuck, nor does one come to the server later.
    for thread in threads:
        wait_until(lambda thread=thread: ann.say(thread).status_code == 200, 8)  # type: ignore[misc]
    assert set(Message.objects.values_list("status", flat=True)) == {"complete"}

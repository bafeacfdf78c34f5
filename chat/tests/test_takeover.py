"""A reply survives its server: another process carries it on from its last character."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from chat.models import Message, MessageStatus, Sender, Thread, Usage
from chat.replies.owner import HOST, NOBODY
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import (
    NDJSON,
    SSE,
    Reading,
    events_of,
    following,
    path_of,
    sending,
    text_of,
)
from testing.waiting import wait_until

WORDS = [f"word{number} " for number in range(8)]
WHOLE = "".join(WORDS)
HALF = "".join(WORDS[:4])

ELSEWHERE = "another-machine/1/0123abcd"
DEAD_HERE = f"{HOST}/4194305/0123abcd"  # more than Linux ever gives
ALIVE_HERE = f"{HOST}/1/0123abcd"


def orphan(
    thread: Thread, owner: str, seconds: float, content: str = "", **fields: object
) -> Message:
    """Store a reply whose process was last heard of so many seconds ago."""
    question = thread.messages.create(sender=Sender.USER, content="Hello")
    return thread.messages.create(
        sender=Sender.BOT,
        parent=question,
        content=content,
        status=MessageStatus.GENERATING,
        model=thread.model,
        owner=owner,
        heartbeat_at=timezone.now() - timedelta(seconds=seconds),
        **fields,
    )


@contextmanager
def in_mid_answer(
    caller: Caller, thread: Thread, ollama: ScriptedOllama, **headers: str
) -> Iterator[Reading]:
    """Send a message, read half of the reply, and wait until that is stored."""
    ollama.script = Script(WORDS, hold_after=4)
    with sending(caller, thread, **headers) as reading:
        reading.until("word3")
        wait_for_text(thread, HALF)
        ollama.script = Script(WORDS)  # for who carries it on
        yield reading


def rest_of(reading: Reading) -> None:
    """Read on until the connection is cut."""
    with pytest.raises(httpx.TransportError):
        reading.to_the_end()


class TestAnOrphan:
    @pytest.mark.parametrize(
        ("owner", "seconds"), [(ELSEWHERE, 9), (ALIVE_HERE, 9), (DEAD_HERE, 0), (NOBODY, 0)]
    )
    @pytest.mark.parametrize("written", ["", "You sa"])
    def test_it_is_carried_on_for_whoever_reads_it(
        self, ann: Caller, owner: str, seconds: float, written: str
    ) -> None:
        thread = ann.thread()
        reply = orphan(thread, owner, seconds, written)

        events = events_of(ann.get(path_of(thread), headers=SSE).text)

        assert [events[0].type, events[-1].type] == ["start", "end"]
        assert text_of(events) == "You said: Hello"
        reply.refresh_from_db()
        assert (reply.status, reply.content) == ("complete", "You said: Hello")
        assert (reply.takeovers, reply.rewind_offset) == (1, len(written))

    def test_it_is_carried_on_though_nobody_reads_it(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You")

        assert wait_for_status(thread, "complete").content == "You said: Hello"

    @pytest.mark.parametrize(("owner", "seconds"), [(ELSEWHERE, 3), (ALIVE_HERE, 3)])
    def test_a_process_that_may_live_is_not_robbed(
        self, ann: Caller, owner: str, seconds: float
    ) -> None:
        thread = ann.thread()
        orphan(thread, owner, seconds)

        answer = ann.say(thread)

        assert (answer.status_code, answer.json()["code"]) == (409, "reply_in_progress")
        assert reply_of(thread).owner == owner

    def test_what_has_thoughts_only_begins_anew(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread(model="thinker")
        ollama.script = Script(["Hi"], thinking=["Hm", "m"])
        orphan(thread, DEAD_HERE, 0, thinking="Hmmmmmmm")

        reply = wait_for_status(thread, "complete")

        assert (reply.thinking, reply.content) == ("Hmm", "Hi")

    def test_after_three_takeovers_it_is_interrupted(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You", takeovers=3)

        reply = wait_for_status(thread, "interrupted")

        assert reply.content == "You"
        assert ann.say(thread, "Go on").text == "You said: Go on"

    def test_a_stop_stops_it(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, ELSEWHERE, 5, "You")

        assert ann.post(f"/chat/threads/{thread.pk}/stop/").json() == {"status": "stopped"}

        assert (reply_of(thread).status, reply_of(thread).content) == ("stopped", "You")

    def test_a_text_is_carried_on_from_the_very_character(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        text = "Größe 👩‍👩‍👧 é 模型"
        for length in range(1, len(text)):
            thread = ann.thread()
            ollama.script = Script([text])
            orphan(thread, DEAD_HERE, 0, text[:length])

            events = events_of(ann.get(path_of(thread), headers=SSE).text)

            assert text_of(events) == text == reply_of(thread).content

    def test_what_was_computed_is_counted_as_used(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You said", context_tokens=100, completion_tokens=2)

        reply = wait_for_status(thread, "complete")

        used = Usage.objects.get(user=thread.user)
        assert used.replies == 1
        assert used.prompt_tokens > 100
        assert reply.completion_tokens == used.completion_tokens

    def test_a_quota_that_ran_out_does_not_cut_it(self, ann: Caller) -> None:
        thread = ann.thread()
        thread.user.daily_tokens = 1
        thread.user.save()
        orphan(thread, DEAD_HERE, 0, "You", context_tokens=100)

        assert wait_for_status(thread, "complete").content == "You said: Hello"


class TestReaders:
    def test_a_reader_who_was_ahead_of_what_was_stored_is_told_to_rewind(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=20) as reading:
            events = events_of(reading.to_the_end())

        assert [event.type for event in events[:2]] == ["start", "rewind"]
        assert (events[1].data, events[1].id) == ({"offset": 8}, "8")
        assert text_of(events) == WHOLE[8:]

    def test_one_who_was_not_goes_on(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=8) as reading:
            events = events_of(reading.to_the_end())

        assert "rewind" not in {event.type for event in events}
        assert text_of(events) == WHOLE[8:]

    def test_json_lines_say_the_same(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=20, **NDJSON) as reading:
            lines = reading.to_the_end().splitlines()

        assert lines[1] == '{"type":"rewind","offset":8}'

    def test_plain_text_says_in_a_header_where_it_begins(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        answer = ann.get(path_of(thread), params={"offset": 20})

        assert answer.headers["Reply-Offset"] == "8"
        assert answer.text == WHOLE[8:]


class TestTwoProcesses:
    @pytest.fixture
    def servers(self, start_server: StartServer) -> tuple[Server, Server]:
        return start_server(), start_server()

    @pytest.fixture
    def callers(self, servers: tuple[Server, Server]) -> Iterator[tuple[Caller, Caller]]:
        ann = create_user("ann")
        with Caller(servers[0].url, ann) as there, Caller(servers[1].url, ann) as here:
            yield there, here

    def test_a_killed_one_is_replaced_within_three_seconds(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, here = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].kill()
            rest_of(reading)
        offset = len(text_of(events_of(reading.text)))

        with following(here, thread, offset=offset) as again:
            events = events_of(again.to_the_end())

        assert HALF[:offset] + text_of(events) == WHOLE
        assert events[-1].type == "end"
        assert reply_of(thread).takeovers == 1

    def test_nobody_has_to_ask(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        thread = callers[0].thread()
        with in_mid_answer(callers[0], thread, ollama) as reading:
            servers[0].kill()
            rest_of(reading)

        assert wait_for_status(thread, "complete", 4).content == WHOLE

    def test_one_that_wakes_up_after_long_sends_its_readers_on(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, _ = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].pause()
            wait_until(lambda: reply_of(thread).takeovers == 1, 15)
            servers[0].resume()
            events = events_of(reading.to_the_end())

        assert text_of(events) == WHOLE
        assert events[-1].type == "end"
        assert wait_for_status(thread, "complete").content == WHOLE
        assert "Traceback" not in servers[0].log()

    def test_one_that_is_paused_for_a_moment_is_not_robbed(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, _ = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].pause()
            time.sleep(4)
            servers[0].resume()
            ollama.release()
            assert text_of(events_of(reading.to_the_end())) == WHOLE
        assert reply_of(thread).takeovers == 0

    def test_a_deploy_hands_replies_over_at_once(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, _ = callers
        thread, other = there.thread(), there.thread()
        with (
            in_mid_answer(there, thread, ollama) as reading,
            in_mid_answer(there, other, ollama, Accept="text/plain") as text,
        ):
            began = time.monotonic()
            assert servers[0].terminate(5) in (0, -signal.SIGTERM)
            assert time.monotonic() - began < 2
            rest_of(reading)
            rest_of(text)
            assert {event.type for event in events_of(reading.text)} == {"start", "delta"}

        for each in (thread, other):
            assert wait_for_status(each, "complete", 4).content == WHOLE
        assert "Traceback" not in servers[0].log()


@pytest.mark.usefixtures("alone")
def test_a_lone_server_carries_on_after_its_restart(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_SHUTDOWN_GRACE_SECONDS="0")
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with in_mid_answer(ann, thread, ollama) as reading:
            server.terminate(5)
            rest_of(reading)
        assert (reply_of(thread).status, reply_of(thread).owner) == ("generating", NOBODY)
        server.start()

        assert wait_for_status(thread, "complete").content == WHOLE
        assert "Traceback" not in server.log()


@pytest.mark.usefixtures("alone")
def test_an_idempotency_key_whose_reply_was_interrupted_sends_again(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_CARRY_ON="false")
    key = {"Idempotency-Key": "once"}
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with in_mid_answer(ann, thread, ollama, **key) as reading:
            server.kill()
            rest_of(reading)
        server.start()
        wait_for_status(thread, "interrupted")

        assert ann.say(thread, headers=key).text == WHOLE

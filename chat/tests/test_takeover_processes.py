"""A reply survives its server: a process that is killed, paused or replaced."""

import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from chat.models import Message
from chat.replies.follow import POLL_SECONDS
from chat.replies.lifecycle import silence_of
from chat.replies.owner import NOBODY
from chat.replies.takeover import STALE_AFTER, SWEEP_SECONDS
from chat.tests.taking_over import (
    HALF,
    WHOLE,
    in_mid_answer,
    rest_of,
)
from testing.exposition import metrics_of
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_checkpoints, wait_for_status
from testing.scripted_ollama import ScriptedOllama
from testing.streams import (
    events_of,
    following,
    text_of,
)
from testing.waiting import wait_until


class TestTwoProcesses:
    @pytest.fixture
    def servers(self, start_server: StartServer) -> tuple[Server, Server]:
        return start_server(), start_server()

    @pytest.fixture
    def callers(self, servers: tuple[Server, Server]) -> Iterator[tuple[Caller, Caller]]:
        ann = create_user("ann")
        with Caller(servers[0].url, ann) as there, Caller(servers[1].url, ann) as here:
            yield there, here

    def test_a_killed_process_is_replaced_within_three_seconds(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, here = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].kill()
            killed_at = time.monotonic()
            rest_of(reading)
        offset = len(text_of(events_of(reading.text)))

        with following(here, thread, offset=offset) as again:
            again.until("word4")
            waited = time.monotonic() - killed_at
            events = events_of(again.to_the_end())

        assert HALF[:offset] + text_of(events) == WHOLE
        assert events[-1].type == "end"
        assert reply_of(thread).rewind_offset == len(HALF)
        assert POLL_SECONDS < SWEEP_SECONDS < 2.5, "half a second is for taking it over"
        # A busy machine has two seconds more, but not as long as a silence would take.
        assert waited < 5 < STALE_AFTER.total_seconds()

    def test_a_reply_is_carried_on_though_nobody_asks(
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

    def test_a_take_over_is_counted(
        self,
        alone: None,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        thread = callers[0].thread()
        with in_mid_answer(callers[0], thread, ollama) as reading:
            servers[0].kill()
            rest_of(reading)

        name = "llama_chatbot_takeovers_total"
        wait_until(lambda: metrics_of(servers[1].url).value(name) == 1, 15)

    def test_a_process_that_wakes_up_after_long_sends_its_readers_on(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, _ = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].pause()
            wait_until(lambda: reply_of(thread).rewind_offset is not None, 15)
            servers[0].resume()
            events = events_of(reading.to_the_end())

        assert text_of(events) == WHOLE
        assert events[-1].type == "end"
        assert wait_for_status(thread, "complete").content == WHOLE
        assert "Traceback" not in servers[0].log()

    def test_a_process_that_is_paused_for_a_moment_keeps_its_replies(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        there, _ = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            servers[0].pause()
            reply = Message.objects.with_silence().filter(pk=reply_of(thread).pk)
            wait_until(lambda: silence_of(reply.get()) > timedelta(seconds=4), 10)
            servers[0].resume()
            ollama.release()
            assert text_of(events_of(reading.to_the_end())) == WHOLE
        assert reply_of(thread).rewind_offset is None

    def test_a_busy_process_keeps_its_replies(
        self,
        servers: tuple[Server, Server],
        callers: tuple[Caller, Caller],
        ollama: ScriptedOllama,
    ) -> None:
        """For longer than a dead one would: it has the processor for moments only."""
        there, _ = callers
        thread = there.thread()
        with in_mid_answer(there, thread, ollama) as reading:
            reply = Message.objects.with_silence().filter(pk=reply_of(thread).pk)
            began = time.monotonic()
            while time.monotonic() - began < STALE_AFTER.total_seconds() + SWEEP_SECONDS:
                servers[0].pause()
                wait_until(lambda: silence_of(reply.get()) > timedelta(seconds=3), 10)
                servers[0].resume()
                wait_for_checkpoints(thread, 1)
            ollama.release()
            assert text_of(events_of(reading.to_the_end())) == WHOLE
        assert (reply_of(thread).rewind_offset, reply_of(thread).takeovers) == (None, 0)

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

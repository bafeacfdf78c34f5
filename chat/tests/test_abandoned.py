"""`CHAT_ABANDONED_REPLY_SECONDS`: how long a reply goes on that nobody reads."""

import time

import pytest

from testing.people import Caller, create_user
from testing.processes import StartServer
from testing.replies import reply_of, wait_for_checkpoints, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import following, sending

WORDS = ["one ", "two ", "three "]


@pytest.fixture(autouse=True)
def held(ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=2)


@pytest.mark.parametrize(("setting", "least", "most"), [("0", 0, 1), ("1", 1, 2)])
def test_a_reply_is_stopped_so_many_seconds_after_its_last_reader_left(
    start_server: StartServer, ollama: ScriptedOllama, setting: str, least: float, most: float
) -> None:
    server = start_server(CHAT_ABANDONED_REPLY_SECONDS=setting)
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with sending(ann, thread) as first:
            first.until("two")
            with following(ann, thread) as second:
                second.until("two")
                wait_for_text(thread, "one two ")
        left_at = time.monotonic()

        ollama.wait_for_open(0, timeout=5)

        assert least <= time.monotonic() - left_at <= most
        assert wait_for_status(thread, "stopped").content == "one two "


def test_a_reply_goes_on_as_long_as_one_reader_stays(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_ABANDONED_REPLY_SECONDS="0")
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with sending(ann, thread) as first:
            first.until("two")
            second = following(ann, thread)
            staying = second.__enter__()
            staying.until("two")
        wait_for_checkpoints(thread, 2)  # which see that somebody is there
        assert ollama.open == 1
        ollama.release()
        assert "three" in staying.to_the_end()
        second.__exit__(None, None, None)
        assert reply_of(thread).status == "complete"


def test_an_empty_setting_lets_an_abandoned_reply_finish(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_ABANDONED_REPLY_SECONDS="")
    with Caller(server.url, create_user("ann")) as ann:
        thread = ann.thread()
        with sending(ann, thread) as reading:
            reading.until("two")
        wait_for_checkpoints(thread, 2)
        assert ollama.open == 1
        ollama.release()
        assert wait_for_status(thread, "complete").content == "".join(WORDS)

"""The log: one line for each end of a reply."""

import logging
import re

import pytest

from chat.models import Message, Thread
from chat.replies.drafts import Draft
from chat.replies.registry import Registry
from chat.tests.in_process import begin
from chat.tests.taking_over import DEAD_HERE, orphan
from testing.answers import refusal
from testing.people import Caller, token_of
from testing.processes import Server
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, sending
from testing.waiting import wait_until

LINE = re.compile(r" (?P<level>[A-Z]+) chat\.replies\.log \S+: Reply ended: (?P<fields>.*)")


class Log:
    """What a server writes about the ends of replies from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = len(server.log())

    def text(self) -> str:
        """Return all of it."""
        return self._server.log()[self._before :]

    def ends(self) -> list[dict[str, str]]:
        """Return the fields of each line, with its level."""
        lines = LINE.finditer(self.text())
        return [
            {"level": line["level"], **dict(f.split("=", 1) for f in line["fields"].split())}
            for line in lines
        ]

    def end_of(self, thread: Thread) -> dict[str, str]:
        """Return the only line about a thread, once it is there."""

        def found() -> list[dict[str, str]]:
            return [end for end in self.ends() if end["thread_id"] == str(thread.pk)]

        wait_until(found)
        (end,) = found()
        return end


@pytest.fixture
def log(server: Server) -> Log:
    return Log(server)


def test_a_complete_reply_says_what_it_cost(ann: Caller, ollama: ScriptedOllama, log: Log) -> None:
    ollama.script = Script(["a secret ", "word"], interval=0.05, prompt_tokens=17)
    thread = ann.thread()
    ann.say(thread, "a secret question", headers=SSE)

    end = log.end_of(thread)

    assert "secret" not in log.text()
    assert 0 <= int(end.pop("first_token_ms")) <= int(end["milliseconds"])
    assert 50 <= int(end.pop("milliseconds")) < 5000
    assert end == {
        "level": "INFO",
        "status": "complete",
        "model": "llama3.2",
        "host": ollama.url,
        "thread_id": str(thread.pk),
        "reply_id": str(reply_of(thread).pk),
        "finish_reason": "stop",
        "prompt_tokens": "17",
        "completion_tokens": "2",
    }


@pytest.mark.parametrize("tokens", [[], ["One ", "two "]], ids=["before", "after"])
def test_a_failure_is_a_warning_with_its_code(
    ann: Caller, ollama: ScriptedOllama, log: Log, tokens: list[str]
) -> None:
    ollama.script = Script(tokens, then="die")
    thread = ann.thread()
    ann.say(thread, headers=SSE)

    end = log.end_of(thread)

    assert (end["level"], end["status"], end["code"]) == ("WARNING", "failed", "model_unavailable")
    assert end["completion_tokens"] == str(len(tokens))
    assert int(end["prompt_tokens"]) > 0  # an estimate
    assert ("first_token_ms" in end) == bool(tokens)
    assert thread.messages.exists() == bool(tokens)


def test_each_of_many_failures_has_its_line(ann: Caller, ollama: ScriptedOllama, log: Log) -> None:
    ollama.script = Script(then="error")
    threads = [ann.thread() for _ in range(10)]
    for thread in threads:
        assert refusal(ann.say(thread)) == (503, "model_unavailable")

    ends = [log.end_of(thread) for thread in threads]

    assert {(end["level"], end["code"]) for end in ends} == {("WARNING", "model_unavailable")}
    assert len({end["reply_id"] for end in ends}) == 10


def test_a_stopped_reply_has_one_line_too(ann: Caller, ollama: ScriptedOllama, log: Log) -> None:
    ollama.script = Script(["One ", "two"], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread, **SSE) as reading:
        reading.until("One")
        ann.post(f"/chat/threads/{thread.pk}/stop/")
        reading.to_the_end()

    end = log.end_of(thread)

    assert (end["level"], end["status"], end["completion_tokens"]) == ("INFO", "stopped", "1")


def test_a_continuation_that_fails_says_so_though_the_reply_stays_as_it_was(
    ann: Caller, ollama: ScriptedOllama, server: Server
) -> None:
    ollama.script = Script(["One ", "two"], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread, **SSE) as reading:
        reading.until("One")
        ann.post(f"/chat/threads/{thread.pk}/stop/")
        reading.to_the_end()
    log = Log(server)
    ollama.script = Script(then="die")

    answer = ann.post(f"/chat/threads/{thread.pk}/continue/")

    assert refusal(answer) == (503, "model_unavailable")
    assert reply_of(thread).status == "stopped"
    end = log.end_of(thread)
    assert (end["level"], end["status"], end["code"]) == ("WARNING", "failed", "model_unavailable")


def test_an_orphan_that_nobody_carries_on_has_a_line(ann: Caller, log: Log) -> None:
    thread = ann.thread()
    reply = orphan(thread, DEAD_HERE, 0, "You", takeovers=3)
    wait_for_status(thread, "interrupted")

    end = log.end_of(thread)

    assert end == {
        "level": "WARNING",
        "status": "interrupted",
        "model": "llama3.2",
        "thread_id": str(thread.pk),
        "reply_id": str(reply.pk),
    }


def test_an_orphan_that_is_stopped_has_a_line(ann: Caller, log: Log) -> None:
    thread = ann.thread()
    orphan(thread, "another-machine/1/0123abcd", 5, "You")
    ann.post(f"/chat/threads/{thread.pk}/stop/")

    end = log.end_of(thread)

    assert (end["level"], end["status"]) == ("INFO", "stopped")


def test_a_reply_that_is_carried_on_has_one_line(
    ann: Caller, ollama: ScriptedOllama, log: Log
) -> None:
    thread = ann.thread()
    orphan(thread, DEAD_HERE, 0, "You")
    wait_for_status(thread, "complete")

    assert log.end_of(thread)["status"] == "complete"


def test_a_completion_that_is_stored_nowhere_has_a_line(
    ann: Caller, ollama: ScriptedOllama, log: Log
) -> None:
    headers = {"Authorization": f"Bearer {token_of(ann)}", "Cookie": ""}
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": "Hello"}]}
    assert ann.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    ollama.script = Script(then="die")
    assert ann.post("/v1/chat/completions", json=body, headers=headers).status_code == 503

    wait_until(lambda: len(log.ends()) == 2)
    complete, failed = log.ends()
    assert (complete["level"], complete["status"]) == ("INFO", "complete")
    assert complete["completion_tokens"] == "3"
    assert (failed["level"], failed["code"]) == ("WARNING", "model_unavailable")


async def test_the_fields_are_the_records_own_for_logs_of_another_format(
    draft: Draft, registry: Registry, ollama: ScriptedOllama, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "chat.replies.log"):
        await registry.write(await begin(draft)).task

    (record,) = [r for r in caplog.records if r.name == "chat.replies.log"]
    reply = await Message.objects.aget(pk=record.__dict__["reply_id"])
    assert record.__dict__["status"] == "complete"
    assert record.__dict__["code"] is None
    assert record.__dict__["thread_id"] == draft.thread_id
    assert record.__dict__["completion_tokens"] == reply.completion_tokens == 3
    assert record.__dict__["milliseconds"] >= record.__dict__["first_token_ms"]

"""A model that fails later leaves a failed reply with what was written."""

import httpx
import pytest

from testing.answers import refusal
from testing.people import Caller
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, SSE, events_of, path_of, sending, text_of

TEN = [f"token{number} " for number in range(10)]


LATE = {
    "dies": Script(TEN, then="die"),
    "is reset": Script(TEN, then="reset"),
    "talks nonsense": Script(TEN, then="garbage"),
    "tells an error": Script(TEN, then="error"),
    "has no end": Script(TEN, then="no_done"),
}


@pytest.mark.parametrize("nonsense", [-7, 10**20])
def test_a_record_that_makes_no_sense_costs_no_text(
    ann: Caller, ollama: ScriptedOllama, nonsense: int
) -> None:
    ollama.script = Script(["Ten"], prompt_tokens=nonsense, completion_tokens=nonsense)
    thread = ann.thread()

    assert ann.say(thread).text == "Ten"

    reply = reply_of(thread)
    assert (reply.status, reply.content) == ("complete", "Ten")
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)


@pytest.mark.parametrize("script", LATE.values(), ids=LATE)
def test_a_later_failure_keeps_what_was_written_and_never_looks_complete(
    ann: Caller, ollama: ScriptedOllama, script: Script
) -> None:
    ollama.script = script
    text = "".join(TEN)

    thread = ann.thread()
    events = events_of(ann.say(thread, headers=SSE).text)
    assert text_of(events) == text
    assert (events[-1].type, events[-1].data["code"]) == ("error", "model_unavailable")
    assert events[-1].data["reply_kept"] is True
    assert "end" not in {event.type for event in events}

    last = ann.say(ann.thread(), headers=NDJSON).text.splitlines()[-1]
    assert last.startswith('{"type":"error"')
    assert '"code":"model_unavailable"' in last

    with sending(ann, ann.thread(), Accept="text/plain") as reading:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            reading.to_the_end()
        assert reading.text == text

    whole = ann.thread()
    answer = ann.post(f"/chat/response/{whole.pk}/", json={"message": "Hello"})
    assert refusal(answer) == (503, "model_unavailable")

    for kept in (thread, whole):
        reply = wait_for_status(kept, "failed")
        assert (reply.content, reply.error_code) == (text, "model_unavailable")
        assert reply.parent
        assert reply.parent.content == "Hello"
    with pytest.raises(httpx.RemoteProtocolError):
        ann.get(path_of(thread))


def test_after_a_failed_reply_the_thread_goes_on(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts.append(LATE["dies"])
    thread = ann.thread()
    ann.say(thread, headers=SSE)

    assert ann.say(thread, "Again").text == "You said: Again"

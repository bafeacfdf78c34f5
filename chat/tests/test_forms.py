"""The three forms in which a reply is streamed, and what keeps a connection open."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import TypeAdapter

from chat.replies.events import Event, KeepAlive
from chat.replies.forms.form import Form
from chat.replies.forms.ndjson import Ndjson
from chat.replies.forms.schemas import EventData, EventLine
from chat.replies.forms.sse import ServerSentEvents
from chat.replies.forms.text import PlainText
from testing.people import Caller
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.scripted_ollama.script import Then
from testing.streams import NDJSON, SSE, events_of, path_of, sending, text_of

AWKWARD = ["one\n\n", "data: two\r\n", "event: end\u2028\u0085", "\U0001f999", ' {"a"}\n', "\n"]


@pytest.mark.parametrize(
    "accept", [None, "*/*", "text/plain", "application/json, text/plain, */*", "application/json"]
)
def test_a_reply_is_plain_text_unless_something_else_is_accepted(
    ann: Caller, accept: str | None
) -> None:
    thread = ann.thread()
    request = ann.build_request("POST", path_of(thread), json={"message": "Hello"})
    del request.headers["Accept"]
    if accept:
        request.headers["Accept"] = accept

    answer = ann.send(request)

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "You said: Hello"
    assert answer.headers["Reply-Id"] == str(reply_of(thread).pk)


@pytest.mark.parametrize("accept", ["text/event-stream; charset=utf-8", "text/event-stream;q=0.9"])
def test_parameters_of_a_form_do_not_matter(ann: Caller, accept: str) -> None:
    answer = ann.say(ann.thread(), headers={"Accept": accept})

    assert answer.headers["Content-Type"] == "text/event-stream"


def test_half_a_surrogate_pair_from_the_model_is_replaced(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(["half \ud83d", " of it"])

    answer = ann.say(thread)

    assert answer.text == "half ? of it"
    assert (reply_of(thread).content, reply_of(thread).status) == ("half ? of it", "complete")


def test_server_sent_events_tell_the_start_each_piece_and_the_end(ann: Caller) -> None:
    thread = ann.thread()

    answer = ann.say(thread, headers=SSE)

    reply = reply_of(thread)
    assert answer.headers["Content-Type"] == "text/event-stream"
    start, *deltas, end = events_of(answer.text)
    assert start.type == "start"
    assert start.data | {"context": None} == {
        "reply_id": reply.pk,
        "message_id": reply.parent_id,
        "thread_id": thread.pk,
        "model": "llama3.2",
        "context": None,
    }
    assert start.data["context"]["turns_kept"] == 0
    said = ""
    for delta in deltas:
        said += delta.data["text"]
        assert (delta.type, delta.id) == ("delta", str(len(said)))
    assert said == "You said: Hello"
    assert (end.type, end.id) == ("end", f"{len(said)}:end:{reply.pk}")
    assert end.data == {"status": "complete", "finish_reason": "stop", "usage": reply.usage}
    assert reply.usage is not None
    assert reply.usage["completion_tokens"] == 3


def test_json_lines_tell_the_same(ann: Caller) -> None:
    thread = ann.thread()

    answer = ann.say(thread, headers=NDJSON)

    reply = reply_of(thread)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    start, *deltas, end = map(json.loads, answer.text.splitlines())
    assert start["type"] == "start"
    assert start["reply_id"] == reply.pk
    said = ""
    for delta in deltas:
        said += delta["text"]
        assert (delta["type"], delta["offset"]) == ("delta", len(said))
    assert said == "You said: Hello"
    assert end == {
        "type": "end",
        "status": "complete",
        "finish_reason": "stop",
        "usage": reply.usage,
    }


@pytest.mark.parametrize("tokens", [["Yes", "."], ["No"]])
def test_events_are_as_the_openapi_document_says(
    ann: Caller, ollama: ScriptedOllama, tokens: list[str]
) -> None:
    then: Then = "done" if len(tokens) == 2 else "die"
    ollama.script = Script(tokens, thinking=["Hm."], then=then)
    thread = ann.thread(model="thinker")

    events = events_of(ann.say(thread, headers=SSE).text)
    lines = ann.say(thread, headers=NDJSON).text.splitlines()

    assert {event.type for event in events} >= {"start", "thinking", "delta"}
    for event in events:
        TypeAdapter(EventData).validate_python(event.data, extra="forbid")
    for line in lines:
        TypeAdapter(EventLine).validate_json(line, extra="forbid")


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream", "application/x-ndjson"])
def test_no_proxy_keeps_the_answer_back(ann: Caller, accept: str) -> None:
    answer = ann.say(ann.thread(), headers={"Accept": accept})

    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store, no-transform"
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream", "application/x-ndjson"])
def test_any_text_comes_through_unchanged(ann: Caller, ollama: ScriptedOllama, accept: str) -> None:
    ollama.script = Script(AWKWARD)
    thread = ann.thread()

    answer = ann.say(thread, headers={"Accept": accept})

    if accept == "text/event-stream":
        said = text_of(events_of(answer.text))
    elif accept == "application/x-ndjson":
        lines = [json.loads(line) for line in answer.text.split("\n") if line]
        said = "".join(line["text"] for line in lines if line["type"] == "delta")
    else:
        said = answer.text
    assert said == "".join(AWKWARD) == reply_of(thread).content


def test_the_character_that_postgresql_cannot_store_is_replaced(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["a\0", "b"])
    thread = ann.thread()

    assert ann.say(thread).text == "a\ufffdb" == reply_of(thread).content


def test_thinking_has_events_of_its_own_and_is_no_text(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["Yes."], thinking=["Hm", "m."])
    thread = ann.thread(model="thinker")

    events = events_of(ann.say(thread, headers=SSE).text)

    assert "".join(e.data["text"] for e in events if e.type == "thinking") == "Hmm."
    assert text_of(events) == "Yes." == reply_of(thread).content
    assert reply_of(thread).thinking == "Hmm."
    assert ann.get(path_of(thread)).text == "Yes."


def test_a_reply_may_be_nothing_but_thoughts(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script([], thinking=["Hm", "m."])
    thread = ann.thread(model="thinker")

    assert ann.say(thread).text == ""
    assert (reply_of(thread).status, reply_of(thread).thinking) == ("complete", "Hmm.")


def test_events_start_at_once_and_plain_text_with_the_first_token(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Hi"], hold_after=0)
    thread = ann.thread()

    with sending(ann, thread) as reading:
        reading.until("event: start")
        with pytest.raises(httpx.ReadTimeout):
            ann.get(path_of(thread), headers={"Accept": "text/plain"}, timeout=0.3)
        ollama.wait_for_open(1)
        ollama.release()
        assert text_of(events_of(reading.to_the_end())) == "Hi"


async def test_a_silence_is_a_comment_or_an_empty_line_and_nothing_in_plain_text() -> None:
    async def silence() -> AsyncIterator[Event]:
        yield KeepAlive()

    async def chunks(form: Form) -> list[bytes]:
        return [chunk async for chunk in await form.encode(silence())]

    assert await chunks(ServerSentEvents(1)) == [b": still here\n\n"]
    assert await chunks(Ndjson(1)) == [b"\n"]
    assert await chunks(PlainText(1)) == [b""]

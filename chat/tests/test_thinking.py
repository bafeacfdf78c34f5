"""Models that think: their thoughts come apart from the text, and are not sent to them again."""

import json

from chat.models import Message, Sender
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, SSE, events_of, text_of

SCRIPT = Script(["Yes", "."], thinking=["Let me ", "see"])


def test_server_sent_events_tell_thoughts_by_an_event_of_their_own(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = SCRIPT

    events = events_of(ann.say(ann.thread(model="thinker"), headers=SSE).text)

    thoughts = [event for event in events if event.type == "thinking"]
    assert "".join(event.data["text"] for event in thoughts) == "Let me see"
    assert text_of(events) == "Yes."
    types = [event.type for event in events]
    assert types.index("thinking") < types.index("delta")


def test_json_lines_tell_thoughts_apart_too(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = SCRIPT

    text = ann.say(ann.thread(model="thinker"), headers=NDJSON).text

    lines = [json.loads(line) for line in text.splitlines()]
    assert "".join(x["text"] for x in lines if x["type"] == "thinking") == "Let me see"
    assert "".join(x["text"] for x in lines if x["type"] == "delta") == "Yes."


def test_plain_text_has_no_thoughts(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = SCRIPT

    assert ann.say(ann.thread(model="thinker")).text == "Yes."


def test_a_message_has_its_thoughts_apart_from_its_content(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = SCRIPT
    thread = ann.thread(model="thinker")

    whole = ann.post(f"/chat/response/{thread.pk}/", json={"message": "Sure?"}).json()

    assert whole["response"] == "Yes."
    assert (whole["message"]["content"], whole["message"]["thinking"]) == ("Yes.", "Let me see")
    stored = Message.objects.get(thread=thread, sender=Sender.BOT)
    assert (stored.content, stored.thinking) == ("Yes.", "Let me see")


def test_thoughts_are_not_sent_to_the_model_again(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = SCRIPT
    thread = ann.thread(model="thinker")
    ann.say(thread, "Sure?")
    ann.say(thread, "Really?")

    messages = ollama.chats[-1].messages[1:]

    assert messages == [
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Really?"},
    ]

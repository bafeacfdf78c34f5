"""`useChat` of the AI SDK, in a real browser and as the docs show it, reads and sends replies."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chat.models import Thread
from chat.replies.events import Delta, End, Event, Rewind, Start, Thinking
from chat.replies.forms.ai_sdk import UiMessageStream
from testing import javascript
from testing.fixtures.browsers import Site
from testing.people import Caller, create_session
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import path_of

DOCS = javascript.ROOT / "docs" / "front-ends.md"
AI_SDK = {"Accept": "text/event-stream; profile=ai-sdk"}

MAIN = """
import { createRoot } from "react-dom/client";
import { Chat } from "./chat.jsx";
import { loadMessages } from "./messages.js";

const [server, thread] = location.hash.slice(1).split("|");
const loaded = await loadMessages(server, thread);
document.body.prepend(document.createElement("div"));
const root = createRoot(document.body.firstChild);
root.render(<Chat server={server} thread={thread} loaded={loaded} />);
"""


def chunks_of(text: str) -> list[Any]:
    """Return the chunks of a UI message stream, which has to end as it should."""
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    chunks = [block.removeprefix("data: ") for block in blocks if not block.startswith(":")]
    assert chunks.pop() == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


class FrontEnd:
    """The page of the docs, opened by somebody who is logged in."""

    def __init__(self, page: Page, site: Site, server: Server, caller: Caller) -> None:
        self.page, self.site, self.server = page, site, server
        self.server_url = server.url.replace("127.0.0.1", "localhost")
        assert caller.user
        session = create_session(caller.user)
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": self.server_url}])

    def open(self, thread: Thread) -> None:
        self.page.goto(f"{self.site.origin}/#{self.server_url}|{thread.pk}")

    def send(self, text: str) -> None:
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()

    def shows(self, *articles: str) -> None:
        """Wait until it shows these messages and no others."""
        expect(self.page.locator("article")).to_have_text(list(articles))


@pytest.fixture
def front_end(
    npm: None, page: Page, site: Site, ann: Caller, start_server: StartServer
) -> FrontEnd:
    javascript.bundle(site.directory, {**javascript.snippets(DOCS), "main.jsx": MAIN})
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    return FrontEnd(page, site, server, ann)


def test_the_sdk_sends_messages_and_shows_the_replies(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    front_end.open(thread)

    front_end.send("Hello")
    front_end.shows("Hello", "You said: Hello")
    first = reply_of(thread)
    front_end.send("Again")
    front_end.shows("Hello", "You said: Hello", "Again", "You said: Again")

    second = reply_of(thread)
    assert second.parent is not None
    assert second.parent.parent_id == first.pk
    expect(front_end.page.locator(f"#message-{second.pk}")).to_have_text("You said: Again")
    front_end.page.reload()
    front_end.shows("Hello", "You said: Hello", "Again", "You said: Again")
    assert len(ollama.chats) == 2


def test_the_sdk_shows_what_the_model_thinks(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Yes."], thinking=["Hm", "m."])
    front_end.open(ann.thread(model="thinker"))

    front_end.send("Hello")

    front_end.shows("Hello", "Hmm.Yes.")
    expect(front_end.page.locator("article em")).to_have_text("Hmm.")


def test_the_sdk_has_a_reply_written_once_more(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.scripts.extend([Script(["First."]), Script(["Second."])])
    front_end.open(thread)
    front_end.send("Hello")
    front_end.shows("Hello", "First.")

    front_end.page.get_by_role("button", name="Again").click()

    front_end.shows("Hello", "Second.")
    first, second = thread.messages.filter(sender="bot").order_by("pk")
    assert first.parent_id == second.parent_id
    front_end.page.reload()
    front_end.shows("Hello", "Second.")


def test_the_sdk_stops_a_reply(front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)
    thread = ann.thread()
    front_end.open(thread)
    front_end.send("Count")
    front_end.shows("Count", "one two ")

    front_end.page.get_by_role("button", name="Stop").click()

    expect(front_end.page.get_by_role("button", name="Send")).to_be_visible()
    front_end.shows("Count", "one two ")
    assert (reply_of(thread).status, reply_of(thread).content) == ("stopped", "one two ")
    ollama.script = Script(["Fine."])
    front_end.send("Go on")
    front_end.shows("Count", "one two ", "Go on", "Fine.")


def test_a_reload_in_the_middle_goes_on_with_the_reply(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two ", "three"], thinking=["Hm."], hold_after=2)
    thread = ann.thread(model="thinker")
    front_end.open(thread)
    front_end.send("Count")
    front_end.shows("Count", "Hm.one two ")

    front_end.page.reload()
    front_end.shows("Count", "Hm.one two ")
    expect(front_end.page.get_by_role("button", name="Stop")).to_be_visible()
    ollama.release()

    front_end.shows("Count", "Hm.one two three")
    expect(front_end.page.get_by_role("button", name="Send")).to_be_visible()
    assert wait_for_status(thread, "complete")
    assert len(ollama.chats) == 1


@pytest.mark.parametrize("has_ended", [False, True])
def test_the_sdk_shows_the_whole_reply_though_its_server_is_killed(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama, has_ended: bool
) -> None:
    """Another server carries the reply on, maybe to its end before the page is back."""
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)
    thread = ann.thread()
    front_end.open(thread)
    front_end.send("Count")
    front_end.shows("Count", "one two ")
    wait_for_text(thread, "one two ")

    front_end.server.kill()
    if has_ended:
        ollama.release()
        wait_for_status(thread, "complete", 20)
    front_end.server.start()
    ollama.release()

    expect(front_end.page.locator("article")).to_have_text(
        ["Count", "one two three"], timeout=20_000
    )
    expect(front_end.page.get_by_role("button", name="Send")).to_be_visible()
    ollama.script = Script(["Fine."])
    front_end.send("Go on")
    front_end.shows("Count", "one two three", "Go on", "Fine.")


def test_the_sdk_says_why_a_reply_failed_and_keeps_what_was_written(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    front_end.open(ann.thread())
    ollama.script = Script(["one "], then="die")

    front_end.send("Count")

    front_end.shows("Count", "one ")
    alert = front_end.page.get_by_role("alert")
    expect(alert).to_have_text("The model cannot be reached just now: try again in a moment.")


def test_a_reply_without_a_word_is_an_error_and_no_message(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    front_end.open(ann.thread())
    ollama.script = Script(status=500)

    front_end.send("Hello")

    expect(front_end.page.get_by_role("alert")).to_be_visible()
    front_end.shows("Hello")


@pytest.mark.parametrize(("text", "status"), [("Early", 500), (" ", 200)])
def test_a_send_that_fails_in_the_middle_keeps_the_conversation(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama, text: str, status: int
) -> None:
    """The model fails before its first word, or the server refuses a blank text."""
    thread = ann.thread()
    front_end.open(thread)
    front_end.send("My name is Ann")
    front_end.shows("My name is Ann", "You said: My name is Ann")
    first = reply_of(thread)
    ollama.script = Script(["No."], status=status)
    front_end.send(text)
    expect(front_end.page.get_by_role("alert")).to_be_visible()
    ollama.script = Script(["Ann."])

    front_end.send("What is my name?")

    front_end.shows(
        "My name is Ann", "You said: My name is Ann", text.strip(), "What is my name?", "Ann."
    )
    said = [message["content"] for message in ollama.chats[-1].messages]
    assert said[-3:] == ["My name is Ann", "You said: My name is Ann", "What is my name?"]
    second = reply_of(thread).parent
    assert second
    assert second.parent_id == first.pk


@pytest.mark.parametrize("before", [[], ["Hello", "You said: Hello"]])
def test_again_after_a_send_that_failed_answers_its_question(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama, before: list[str]
) -> None:
    thread = ann.thread()
    front_end.open(thread)
    for text in before[:1]:
        front_end.send(text)
        front_end.shows(*before)
    ollama.script = Script(status=500)
    front_end.send("Early")
    expect(front_end.page.get_by_role("alert")).to_be_visible()
    ollama.script = Script(["First."])
    again = front_end.page.get_by_role("button", name="Again")

    again.click()
    front_end.shows(*before, "Early", "First.")
    ollama.script = Script(["Second."])
    again.click()

    front_end.shows(*before, "Early", "Second.")
    front_end.page.reload()
    front_end.shows(*before, "Early", "Second.")
    questions = thread.messages.filter(sender="user").order_by("pk")
    assert [question.content for question in questions] == [*before[:1], "Early"]


def test_again_that_fails_keeps_the_conversation(
    front_end: FrontEnd, ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    front_end.open(thread)
    front_end.send("Hello")
    front_end.shows("Hello", "You said: Hello")
    ollama.script = Script(status=500)
    front_end.page.get_by_role("button", name="Again").click()
    expect(front_end.page.get_by_role("alert")).to_be_visible()
    ollama.script = Script(["Fine."])

    front_end.send("Go on")

    front_end.shows("Hello", "Go on", "Fine.")
    front_end.page.reload()
    front_end.shows("Hello", "You said: Hello", "Go on", "Fine.")


def test_a_message_that_never_arrived_stays_and_can_be_sent_again(
    front_end: FrontEnd, ann: Caller
) -> None:
    front_end.open(ann.thread())
    front_end.send("Hello")
    front_end.shows("Hello", "You said: Hello")
    front_end.server.kill()
    front_end.send("Lost")
    expect(front_end.page.get_by_role("alert")).to_be_visible()
    front_end.server.start()
    expect(front_end.page.get_by_role("alert")).not_to_be_visible(timeout=20_000)
    front_end.shows("Hello", "You said: Hello", "Lost")

    front_end.page.get_by_role("button", name="Again").click()

    front_end.shows("Hello", "You said: Hello", "Lost", "You said: Lost")


def test_a_file_is_refused_in_words(npm: None, ann: Caller, tmp_path: Path) -> None:
    code = """
    import { Chat } from "@ai-sdk/react";
    import { transportOf } from "./transport.js";
    const chat = new Chat({ transport: transportOf(process.env.SERVER, process.env.THREAD) });
    const file = { type: "file", mediaType: "image/png", url: "data:image/png;base64,AA==" };
    await chat.sendMessage({ text: "What is this?", files: [file] });
    console.log(JSON.stringify([chat.status, chat.error.message]));
    """
    thread = ann.thread()
    javascript.bundle(tmp_path, {**javascript.snippets(DOCS), "main.jsx": code})
    (tmp_path / "package.json").write_text('{"type": "module"}')
    server = str(ann.base_url).rstrip("/")

    wrote = javascript.run("node", tmp_path / "page.js", SERVER=server, THREAD=str(thread.pk))

    assert json.loads(wrote) == ["error", "Files cannot be sent, only text."]
    assert not thread.messages.exists()


async def test_a_rewind_empties_the_message_and_says_what_is_left_of_it(npm: None) -> None:
    async def events() -> AsyncIterator[Event]:
        yield Start(7, 6, 1, "llama3.2", None)
        yield Thinking("Hm.", 3)
        yield Delta("one two", 7)
        yield Rewind(4)
        yield Delta("three", 9)
        yield End("complete", "stop", None)

    data = b"".join([part async for part in await UiMessageStream(7).encode(events())])
    code = """
    import { DefaultChatTransport, readUIMessageStream } from "ai";
    const body = new Response(process.env.DATA).body;
    const stream = new DefaultChatTransport().processResponseStream(body);
    let last;
    for await (const message of readUIMessageStream({ stream })) last = message;
    console.log(JSON.stringify([last.id, last.parts.map(({ type, text }) => [type, text])]));
    """
    module = ("node", "--input-type=module", "-e", code)

    wrote = await asyncio.to_thread(partial(javascript.run, *module, DATA=data.decode()))

    assert json.loads(wrote) == ["7", [["reasoning", "Hm."], ["text", "one three"]]]


def test_the_chunks_of_a_reply(ann: Caller) -> None:
    thread = ann.thread()

    answer = ann.say(thread, headers=AI_SDK)

    reply = reply_of(thread)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Vercel-AI-UI-Message-Stream"] == "v1"
    start, text_start, *deltas, text_end, finish = chunks_of(answer.text)
    assert (start["type"], start["messageId"]) == ("start", str(reply.pk))
    assert start["messageMetadata"]["message_id"] == reply.parent_id
    assert text_start == {"type": "text-start", "id": "text"}
    assert "".join(delta["delta"] for delta in deltas) == "You said: Hello"
    assert {(delta["type"], delta["id"]) for delta in deltas} == {("text-delta", "text")}
    assert text_end == {"type": "text-end", "id": "text"}
    assert finish == {
        "type": "finish",
        "finishReason": "stop",
        "messageMetadata": {"status": "complete", "finish_reason": "stop", "usage": reply.usage},
    }


def test_a_failed_reply_has_its_code_in_the_metadata(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one "], then="die")

    *_, text_end, metadata, error = chunks_of(ann.say(ann.thread(), headers=AI_SDK).text)

    assert text_end == {"type": "text-end", "id": "text"}
    assert metadata["messageMetadata"]["status"] == "failed"
    assert metadata["messageMetadata"]["code"] == "model_unavailable"
    assert error == {"type": "error", "errorText": metadata["messageMetadata"]["error"]}


def test_the_sdk_follows_only_a_reply_that_is_being_written(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    assert ann.get(path_of(thread), headers=AI_SDK).status_code == 204

    ann.say(thread)

    assert ann.get(path_of(thread), headers=AI_SDK).status_code == 204
    assert ann.get(path_of(thread)).text == "You said: Hello"

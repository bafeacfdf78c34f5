"""GET /chat/events/: every tab and device knows what happens to its user's threads."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chat.models import Thread
from chat.tests.exports import chatgpt_chat, file_of
from testing.feeds import Listening, listening
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.trees import grow

A_SECOND = 1.0


@pytest.fixture(params=["here", "there"])
def tab(request: pytest.FixtureRequest, ann: Caller, there: Caller) -> Iterator[Listening]:
    """What another tab of Ann's hears, from the process that she calls or from another."""
    with listening(ann if request.param == "here" else there) as tab:
        yield tab


@pytest.fixture
def thread(ann: Caller) -> Thread:
    return ann.thread(title="Mine")


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


class TestWhatHappens:
    """Each is told within a second, also by another process."""

    def test_a_thread_that_is_made(self, ann: Caller, tab: Listening) -> None:
        made = ann.post("/chat/threads/new/", json={"title": "Mine"}).json()["thread"]
        began = time.monotonic()

        (event,) = tab.until("thread")

        assert time.monotonic() - began < A_SECOND + 0.5
        (listed,) = ann.get("/chat/threads/").json()["threads"]
        assert event.data == listed
        assert event.data["id"] == made["id"]

    def test_a_thread_that_is_changed(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        ann.patch(f"/chat/threads/{thread.pk}/", json={"title": "Yours", "pinned": True})

        (event,) = tab.until("thread")

        assert (event.data["title"], event.data["pinned"]) == ("Yours", True)

    def test_a_title_that_is_changed(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        ann.put(f"/chat/threads/{thread.pk}/update-title/", json={"title": "Yours"})

        assert tab.until("thread")[-1].data["title"] == "Yours"

    def test_a_thread_that_is_deleted(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        ann.delete(f"/chat/threads/{thread.pk}/delete/")

        (event,) = tab.until("thread_deleted")

        assert event.data == {"id": thread.pk}

    def test_all_threads_that_are_deleted(self, ann: Caller, tab: Listening) -> None:
        ids = {ann.thread().pk for _ in range(3)}

        ann.delete("/chat/threads/delete/")

        assert {tab.next().data["id"] for _ in ids} == ids

    def test_so_many_threads_that_the_list_is_loaded_anew(
        self, ann: Caller, tab: Listening
    ) -> None:
        assert ann.user
        Thread.objects.bulk_create(Thread(user=ann.user, model="tiny") for _ in range(150))

        ann.delete("/chat/threads/delete/")

        (event,) = tab.until("reload")
        assert event.data == {}

    def test_a_reply_from_its_beginning_to_its_end(
        self, ann: Caller, thread: Thread, tab: Listening, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(["one ", "two "], hold_after=1)
        with sending(ann, thread, "Count") as reading:
            reading.until("one")
            reply = reply_of(thread)
            of_reply = {"thread_id": thread.pk, "reply_id": reply.pk}

            changed, started = tab.until("reply_started")

            assert started.data == of_reply
            assert (changed.type, changed.data["running_reply_id"]) == ("thread", reply.pk)
            ollama.release()
            reading.to_the_end()
        changed, ended = tab.until("reply_ended")
        assert ended.data == {**of_reply, "status": "complete"}
        assert (changed.type, changed.data["running_reply_id"]) == ("thread", None)
        assert changed.data["preview"] == "one two "

    def test_a_reply_that_is_stopped(
        self, ann: Caller, thread: Thread, tab: Listening, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(["one ", "two "], hold_after=1)
        with sending(ann, thread, "Count") as reading:
            reading.until("one")
            ann.post(f"/chat/threads/{thread.pk}/stop/")

            assert tab.until("reply_ended")[-1].data["status"] == "stopped"

    def test_a_reply_that_fails_at_once(
        self, ann: Caller, thread: Thread, tab: Listening, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(status=500)
        ann.say(thread)

        events = tab.until("reply_ended", status="failed")

        threads = [event for event in events if event.type == "thread"]
        assert (threads[-1].data["preview"], threads[-1].data["title"]) == ("", "Mine")

    def test_a_thread_whose_first_reply_fails_at_once(
        self, ann: Caller, tab: Listening, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(status=500)
        ann.post("/chat/streaming-response/new/", json={"message": "Hello"})

        events = tab.until("thread_deleted")

        assert "reply_ended" in kinds(events)

    def test_a_branch_that_is_chosen(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        tree = grow(thread, [None, 0, 0])
        ann.put(f"/chat/threads/{thread.pk}/branch/", json={"message_id": tree[1].pk})

        assert tab.until("thread")[-1].data["preview"] == "1"

    def test_a_message_that_is_deleted(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        tree = grow(thread, [None, 0, 1])
        ann.delete(f"/chat/threads/{thread.pk}/messages/{tree[2].pk}/")

        assert tab.until("thread")[-1].data["preview"] == "1"

    def test_a_thread_that_is_forked(self, ann: Caller, thread: Thread, tab: Listening) -> None:
        tree = grow(thread, [None, 0])
        body = {"message_id": tree[0].pk}
        copy = ann.post(f"/chat/threads/{thread.pk}/fork/", json=body).json()["thread_id"]

        (event,) = tab.until("thread")

        assert (event.data["id"], event.data["preview"]) == (copy, "0")

    def test_a_thread_that_is_imported(self, ann: Caller, tab: Listening) -> None:
        content = file_of(chatgpt_chat())
        ann.post("/chat/import/", content=content, headers={"Content-Type": "application/json"})

        assert tab.until("thread")[-1].data["preview"] == "In the Andes."


def test_a_title_by_the_model_is_told(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_TITLES="model")
    with Caller(server.url, ann.user) as ann, listening(ann) as tab:
        ollama.scripts += [Script(["Hi"]), Script(["A Greeting"])]
        ann.say(ann.thread(), "Hello")

        tab.until("thread", title="A Greeting")


def test_nobody_hears_of_others_threads(ann: Caller, bob: Caller) -> None:
    with listening(bob) as tab:
        ann.say(ann.thread(title="Ann's"))
        bob.post("/chat/threads/new/", json={"title": "Bob's"})

        (event,) = tab.until("thread")
        assert event.data["title"] == "Bob's"


def test_all_tabs_hear_of_what_one_does(ann: Caller, there: Caller) -> None:
    with listening(ann) as first, listening(ann) as second, listening(there) as third:
        ann.post("/chat/threads/new/")

        for tab in (first, second, third):
            assert tab.until("thread")[-1].data["title"] == "New Chat"

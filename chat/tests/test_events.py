"""GET /chat/events/: every tab and device knows what happens to its user's threads."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chat.models import Thread, ThreadEvent
from chat.tests.exports import chatgpt_chat, file_of
from testing.answers import error_of
from testing.feeds import URL, Listening, listening
from testing.people import Caller, token_of
from testing.processes import StartServer
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, sending
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


def test_all_tabs_hear_of_it(ann: Caller, there: Caller) -> None:
    with listening(ann) as first, listening(ann) as second, listening(there) as third:
        ann.post("/chat/threads/new/")

        for tab in (first, second, third):
            assert tab.until("thread")[-1].data["title"] == "New Chat"


class TestComingBack:
    """`Last-Event-ID` leads on from where a tab was."""

    def test_what_was_missed_is_told_in_its_order(self, ann: Caller, there: Caller) -> None:
        with listening(ann) as tab:
            ann.post("/chat/threads/new/", json={"title": "Heard"})
            tab.until("thread")
        kept, deleted = (
            ann.post("/chat/threads/new/", json={"title": title}).json()["thread_id"]
            for title in ("Missed", "Gone")
        )
        ann.delete(f"/chat/threads/{deleted}/delete/")

        with listening(there, tab.last_id) as tab:
            events = tab.until("thread_deleted")
            assert [event.data["id"] for event in events] == [kept, deleted]
            ann.post("/chat/threads/new/", json={"title": "New"})
            assert tab.until("thread")[-1].data["title"] == "New"

    def test_whoever_missed_nothing_is_told_nothing(self, ann: Caller) -> None:
        with listening(ann) as tab:
            ann.say(ann.thread(title="Heard"))
            tab.until("reply_ended")

        with listening(ann, tab.last_id) as again:
            ann.post("/chat/threads/new/", json={"title": "New"})
            (event,) = again.until("thread")
            assert event.data["title"] == "New"

    def test_a_connection_that_is_cut_within_a_reply_loses_nothing(self, ann: Caller) -> None:
        thread = ann.thread()
        with listening(ann) as tab:
            position = tab.last_id
            ann.say(thread)
            tab.until("reply_ended")

        with listening(ann, position) as again:
            assert kinds(again.until("reply_ended")) == ["thread", "reply_started", "reply_ended"]

    @pytest.mark.parametrize("case", ["too old", "of the future"])
    def test_where_that_is_not_known_the_list_is_to_be_loaded_anew(
        self, ann: Caller, case: str
    ) -> None:
        with listening(ann) as tab:
            for _ in range(3):
                ann.post("/chat/threads/new/")
                tab.until("thread")
            newest = int(tab.last_id)
        if case == "too old":
            ThreadEvent.objects.filter(pk__lt=newest).delete()
        since = newest - 2 if case == "too old" else newest + 1000

        with listening(ann, str(since)) as again:
            (event,) = again.until("reload")
            assert int(event.id or 0) >= newest
        with listening(ann, again.last_id) as tab:
            ann.post("/chat/threads/new/")
            assert kinds(tab.until("thread")) == ["thread"]

    def test_so_much_that_the_list_is_to_be_loaded_anew(self, ann: Caller) -> None:
        assert ann.user
        with listening(ann) as tab:
            ann.post("/chat/threads/new/")
            tab.until("thread")
        events = (ThreadEvent(user_id=ann.user.pk, kind="changed", thread_id=1) for _ in range(501))
        ThreadEvent.objects.bulk_create(events)

        with listening(ann, tab.last_id) as again:
            assert kinds(again.until("reload")) == ["reload"]

    @pytest.mark.parametrize("position", ["x", "-1", "1.5", "٣", "9" * 19, "0:end:0"])
    def test_an_id_that_no_stream_sent_is_refused(self, ann: Caller, position: str) -> None:
        headers = [(b"Last-Event-ID", position.encode())]

        error_of(ann.get(URL, headers=headers), 400, "invalid")


class TestTheEndOfALogin:
    """Nobody goes on listening with a session or a token that has ended."""

    def test_a_logout_ends_it(self, ann: Caller) -> None:
        with listening(ann) as tab:
            ann.post("/auth/logout/")

            assert tab.is_over()

    def test_a_logout_elsewhere_ends_it(self, ann: Caller) -> None:
        assert ann.user
        elsewhere = Caller(str(ann.base_url), ann.user)
        with elsewhere, listening(elsewhere) as tab, listening(ann) as here:
            ann.delete("/auth/sessions/")

            assert tab.is_over()
            ann.post("/chat/threads/new/")
            here.until("thread")

    def test_a_token_that_is_revoked_ends_it(self, ann: Caller) -> None:
        with Caller(str(ann.base_url)) as script:
            script.headers["Authorization"] = f"Bearer {token_of(ann)}"
            with listening(script) as tab:
                assert ann.user
                ann.delete(f"/auth/tokens/{ann.user.tokens.get().pk}/")

                assert tab.is_over()

    @pytest.mark.parametrize("end", ["deactivated", "deleted"])
    def test_an_account_that_ends_ends_it(self, ann: Caller, staff: Caller, end: str) -> None:
        with listening(ann) as tab:
            if end == "deactivated":
                assert staff.post("/auth/deactivate/ann/").status_code == 200
            else:
                assert ann.request("DELETE", "/auth/delete/").status_code == 200

            assert tab.is_over()

    def test_nobody_begins_without_a_login(self, nobody: Caller) -> None:
        error_of(nobody.get(URL), 401, "not_authenticated")


def test_lines_of_json_say_the_same(ann: Caller) -> None:
    with ann.stream("GET", URL, headers=NDJSON) as response:
        lines = response.iter_lines()
        assert response.headers["Content-Type"] == "application/x-ndjson"
        start = json.loads(next(lines))
        assert start["type"] == "start"
        thread = ann.post("/chat/threads/new/", json={"title": "Mine"}).json()["thread"]
        made = json.loads(next(lines))
        ann.delete(f"/chat/threads/{thread['id']}/delete/")
        deleted = json.loads(next(lines))

    assert (made["type"], made["id"], made["title"]) == ("thread", thread["id"], "Mine")
    assert (deleted["type"], deleted["id"]) == ("thread_deleted", thread["id"])
    assert int(start["event_id"]) < int(made["event_id"]) < int(deleted["event_id"])
    with listening(ann, made["event_id"]) as tab:
        assert tab.until("thread_deleted")[-1].data == {"id": thread["id"]}


def test_it_is_counted_as_a_read_and_opened_to_no_other_origin(ann: Caller) -> None:
    left = int(ann.get("/chat/threads/").headers["RateLimit-Remaining"])

    with ann.stream("GET", URL, headers={"Origin": "https://evil.example.com"}) as response:
        assert int(response.headers["RateLimit-Remaining"]) == left - 1
        assert "Access-Control-Allow-Origin" not in response.headers


def test_a_server_that_ends_sends_its_listeners_away(
    start_server: StartServer, ann: Caller
) -> None:
    server = start_server()
    with Caller(server.url, ann.user) as ann, listening(ann) as tab:
        began = time.monotonic()
        server.terminate(10)

        assert tab.is_over()
        assert time.monotonic() - began < 5
    assert "Traceback" not in server.log()

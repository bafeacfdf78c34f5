"""GET /chat/events/: how a connection comes back, who may have one, and how it ends."""

import json
import time
from typing import Any

import pytest

from chat.models import Thread, ThreadEvent
from testing.answers import error_of
from testing.feeds import URL, listening
from testing.people import Caller, token_of
from testing.processes import StartServer
from testing.streams import NDJSON


@pytest.fixture
def thread(ann: Caller) -> Thread:
    return ann.thread(title="Mine")


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


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

    def test_a_logout_ends_the_stream(self, ann: Caller) -> None:
        with listening(ann) as tab:
            ann.post("/auth/logout/")

            assert tab.is_over()

    def test_a_logout_elsewhere_ends_the_stream(self, ann: Caller) -> None:
        assert ann.user
        elsewhere = Caller(str(ann.base_url), ann.user)
        with elsewhere, listening(elsewhere) as tab, listening(ann) as here:
            ann.delete("/auth/sessions/")

            assert tab.is_over()
            ann.post("/chat/threads/new/")
            here.until("thread")

    def test_a_token_that_is_revoked_ends_the_stream(self, ann: Caller) -> None:
        with Caller(str(ann.base_url)) as script:
            script.headers["Authorization"] = f"Bearer {token_of(ann)}"
            with listening(script) as tab:
                assert ann.user
                ann.delete(f"/auth/tokens/{ann.user.tokens.get().pk}/")

                assert tab.is_over()

    @pytest.mark.parametrize("end", ["deactivated", "deleted"])
    def test_an_account_that_ends_ends_the_stream(
        self, ann: Caller, staff: Caller, end: str
    ) -> None:
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


def test_the_stream_is_counted_as_a_read_and_opened_to_no_other_origin(ann: Caller) -> None:
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

"""`expires_at`: a thread that is gone at its time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.models import Message, Thread
from testing.answers import error_of
from testing.people import Caller
from testing.waiting import wait_until


def in_seconds(seconds: float) -> str:
    return (timezone.now() + timedelta(seconds=seconds)).isoformat()


def test_a_thread_is_made_with_an_end(ann: Caller) -> None:
    answer = ann.post("/chat/threads/new/", json={"expires_at": "2090-12-31T12:00:00+02:00"})

    assert answer.status_code == 201, answer.text
    assert answer.json()["thread"]["expires_at"] == "2090-12-31T10:00:00Z"
    (listed,) = ann.get("/chat/threads/").json()["threads"]
    assert listed["expires_at"] == "2090-12-31T10:00:00Z"


def test_the_end_can_be_changed_and_taken_back(ann: Caller) -> None:
    thread = ann.thread()
    url = f"/chat/threads/{thread.pk}/"

    assert ann.patch(url, json={"expires_at": "2090-01-01T00:00:00Z"}).json()["expires_at"]
    assert ann.patch(url, json={"title": "Kept"}).json()["expires_at"] == "2090-01-01T00:00:00Z"
    assert ann.patch(url, json={"expires_at": None}).json()["expires_at"] is None


def test_a_temporary_thread_is_gone_at_its_time(ann: Caller, rows_stay: None) -> None:
    thread = ann.thread()
    ann.say(thread)
    url = f"/chat/threads/{thread.pk}/"
    assert ann.patch(url, json={"expires_at": in_seconds(0.5)}).status_code == 200

    wait_until(lambda: ann.get(url).status_code == 404)

    assert ann.get("/chat/threads/").json()["threads"] == []
    for method, path, body in (
        ("GET", f"{url}messages/", None),
        ("PATCH", url, {"expires_at": None}),
        ("PUT", f"{url}update-title/", {"title": "x"}),
        ("DELETE", f"{url}delete/", None),
        ("POST", f"{url}stop/", None),
        ("POST", f"/chat/response/{thread.pk}/", {"message": "x"}),
        ("GET", f"/chat/streaming-response/{thread.pk}/", None),
    ):
        error_of(ann.request(method, path, json=body), 404, "not_found")
    assert Message.objects.filter(thread_id=thread.pk).count() == 2  # until it is deleted


def test_deleting_all_threads_counts_no_expired_one(ann: Caller) -> None:
    ann.thread()
    ann.thread(expires_at=timezone.now() - timedelta(seconds=1))

    answer = ann.delete("/chat/threads/delete/")

    assert answer.json() == {"status": "Successfully deleted 1 threads"}


@pytest.mark.parametrize(
    "value",
    [
        "2020-01-01T00:00:00Z",
        "2090-01-01T00:00:00",
        "9999-12-31T23:59:59-12:00",
        "2090-13-01T00:00:00Z",
        "tomorrow",
        "",
        "\0",
        4_000_000_000,
        1e300,
        True,
        [],
        {},
    ],
)
def test_a_time_that_has_passed_or_is_none_is_refused(ann: Caller, value: Any) -> None:
    thread = ann.thread()
    url = f"/chat/threads/{thread.pk}/"

    for method, path in (("POST", "/chat/threads/new/"), ("PATCH", url)):
        body = error_of(ann.request(method, path, json={"expires_at": value}), 400, "invalid")
        assert list(body["fields"]) == ["expires_at"]
    assert Thread.objects.get().expires_at is None


def test_times_are_kept_to_the_microsecond(ann: Caller) -> None:
    thread = ann.thread()

    ann.patch(f"/chat/threads/{thread.pk}/", json={"expires_at": "2090-01-01T00:00:00.123456Z"})

    moment = datetime(2090, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert Thread.objects.get().expires_at == moment

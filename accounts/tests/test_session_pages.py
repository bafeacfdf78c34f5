"""GET /auth/sessions/ page by page, and the ids that outlive their sessions' keys."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import sessions
from accounts.models import Session
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_session


def sessions_of(caller: Caller, **query: object) -> list[int]:
    answer = caller.get("/auth/sessions/", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [session["id"] for session in answer.json()["sessions"]]


def test_the_pages_have_every_session_once_newest_first(ann: Caller) -> None:
    assert ann.user
    now = timezone.now()
    for number in range(7):  # three at the same moment
        began = now - timedelta(hours=max(number, 4))
        create_session(ann.user, created_at=began.isoformat())

    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = ann.get("/auth/sessions/", params={"limit": 3, "cursor": cursor}).json()
        assert len(page["sessions"]) <= 3
        found += [session["id"] for session in page["sessions"]]
        cursor = page["next"]

    expected = Session.objects.order_by("-created_at", "-public_id")
    assert found == [session.public_id for session in expected]


def test_a_page_has_fifty_at_first_and_two_hundred_at_most(ann: Caller) -> None:
    assert ann.user
    for _ in range(60):
        create_session(ann.user)

    assert len(sessions_of(ann)) == 50
    assert len(sessions_of(ann, limit=200)) == 61
    for limit in (0, 201):
        error_of(ann.get("/auth/sessions/", params={"limit": limit}), 400, "invalid")


def test_a_cursor_of_another_list_is_refused(ann: Caller, bob: Caller) -> None:
    for caller in (ann, bob):
        assert caller.user
        create_session(caller.user)
        caller.thread()
        caller.thread()
    of_threads = ann.get("/chat/threads/", params={"limit": 1}).json()["next"]
    of_bob = bob.get("/auth/sessions/", params={"limit": 1}).json()["next"]

    for cursor in (of_threads, of_bob, "x"):
        answer = ann.get("/auth/sessions/", params={"cursor": cursor})
        assert error_of(answer, 400, "invalid")["fields"].keys() == {"cursor"}


def test_a_page_reads_no_more_rows_than_it_has(ann: Caller) -> None:
    assert ann.user
    for _ in range(20):
        create_session(ann.user)

    with CaptureQueriesContext(connection) as queries:
        sessions.page(ann.user, 5, "", None)

    (query,) = queries
    assert "LIMIT 6" in query["sql"]


@pytest.mark.parametrize("has_id", [True, False], ids=["new", "old"])
def test_the_id_stays_when_the_password_change_gives_a_new_key(ann: Caller, has_id: bool) -> None:
    more: dict[str, Any] = {"public_id": 12345} if has_id else {}
    caller = Caller(str(ann.base_url), ann.user, **more)
    (before,) = (s["id"] for s in caller.get("/auth/sessions/").json()["sessions"] if s["current"])

    body = {"old_password": PASSWORD, "new_password": "an0ther-horse-battery"}
    answer = caller.post("/auth/password/change/", json=body)
    key = answer.headers["Set-Cookie"].partition(";")[0]
    caller.headers["Cookie"] = key

    assert sessions_of(caller) == [before]


def test_each_login_has_an_id_of_its_own(ann: Caller) -> None:
    body = {"username": "ann", "password": PASSWORD}
    for _ in range(2):
        Caller(str(ann.base_url)).post("/auth/login/", json=body)

    assert len(set(sessions_of(ann))) == 3
    assert all(0 < number < 2**53 for number in sessions_of(ann))

"""GET and DELETE /auth/sessions/: where one is logged in."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts.models import Session, User
from accounts.sessions import SessionStore
from testing.answers import error_of
from testing.people import (
    PASSWORD,
    Caller,
    create_session,
    create_user,
    is_logged_in,
    log_in,
    long_ago,
)
from testing.races import at_once
from testing.scripted_ollama import Script, ScriptedOllama


def test_the_list_says_when_from_where_and_with_what_a_session_began(nobody: Caller) -> None:
    create_user("carl")
    url = str(nobody.base_url)
    nobody.headers["User-Agent"] = "Telephone/1"
    carl = log_in(url, "carl", PASSWORD)
    nobody.post("/auth/login/", json={"username": "carl", "password": PASSWORD})

    answer = carl.get("/auth/sessions/")

    assert answer.status_code == 200
    newest, this = answer.json()["sessions"]
    assert (newest["current"], this["current"]) == (False, True)
    assert newest["user_agent"] == "Telephone/1"
    assert newest["ip_address"] == this["ip_address"] == "127.0.0.1"
    now = timezone.now()
    for name in ("created_at", "last_seen_at"):
        assert now - datetime.fromisoformat(this[name]) < timedelta(seconds=30)
        assert this[name].endswith(("Z", "+00:00"))


def test_a_sessions_id_is_not_its_key(ann: Caller) -> None:
    (session,) = ann.get("/auth/sessions/").json()["sessions"]
    key = Session.objects.get().session_key

    assert key not in ann.get("/auth/sessions/").text
    assert session["id"] < 2**53  # JavaScript reads it exactly
    stolen = Caller(str(ann.base_url))
    stolen.headers["Cookie"] = f"sessionid={session['id']}"
    assert not is_logged_in(stolen)
    error_of(ann.delete(f"/auth/sessions/{key}/"), 404, "not_found")


def test_a_sessions_use_is_noted_once_a_minute(ann: Caller) -> None:
    ann = Caller(str(ann.base_url), ann.user, last_seen_at=long_ago(), user_agent="old")

    first = ann.get("/auth/sessions/")
    second = ann.get("/auth/sessions/")

    assert "Set-Cookie" in first.headers  # which keeps it for two weeks more
    assert "Set-Cookie" not in second.headers
    seen = [s["last_seen_at"] for s in second.json()["sessions"] if s["user_agent"] == "old"]
    assert timezone.now() - datetime.fromisoformat(seen[0]) < timedelta(seconds=30)


def test_the_list_has_no_expired_session_and_nobody_elses(ann: Caller, bob: Caller) -> None:
    expired = create_session(ann.user)  # type: ignore[arg-type]
    Session.objects.filter(pk=expired).update(expire_date=timezone.now())

    (session,) = ann.get("/auth/sessions/").json()["sessions"]

    assert session["current"]


def test_an_ended_session_is_refused_at_its_next_request(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)
    ids = {s["current"]: s["id"] for s in ann.get("/auth/sessions/").json()["sessions"]}

    answer = ann.delete(f"/auth/sessions/{ids[False]}/")

    assert answer.status_code == 200
    assert is_logged_in(ann)
    assert not is_logged_in(elsewhere)
    error_of(elsewhere.get("/chat/threads/"), 401, "not_authenticated")
    error_of(ann.delete(f"/auth/sessions/{ids[False]}/"), 404, "not_found")


def test_all_other_sessions_are_ended(ann: Caller, bob: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    answer = ann.delete("/auth/sessions/")

    assert answer.status_code == 200
    assert [is_logged_in(caller) for caller in (ann, elsewhere, bob)] == [True, False, True]


def test_two_that_end_each_other_at_once_leave_nobody_locked_in(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    answers = at_once(
        lambda: ann.delete("/auth/sessions/"), lambda: elsewhere.delete("/auth/sessions/")
    )

    assert answers[0].status_code == 200
    assert answers[1].status_code in (200, 401)
    assert Session.objects.count() <= 1


@pytest.mark.parametrize("number", ["1", "9" * 15, "9" * 30, "0"])
def test_an_unknown_id_is_not_found(ann: Caller, number: str) -> None:
    error_of(ann.delete(f"/auth/sessions/{number}/"), 404, "not_found")


def test_nobody_ends_somebody_elses_session(ann: Caller, bob: Caller) -> None:
    (theirs,) = bob.get("/auth/sessions/").json()["sessions"]

    error_of(ann.delete(f"/auth/sessions/{theirs['id']}/"), 404, "not_found")

    assert is_logged_in(bob)


def test_the_session_that_asks_can_end_itself(ann: Caller) -> None:
    ann = Caller(str(ann.base_url), ann.user, last_seen_at=long_ago())
    sessions = ann.get("/auth/sessions/").json()["sessions"]
    (this,) = [session["id"] for session in sessions if session["current"]]

    answer = ann.delete(f"/auth/sessions/{this}/")

    assert answer.status_code == 200
    assert not is_logged_in(ann)


def test_a_cookie_that_can_be_no_key_is_nobodys(nobody: Caller) -> None:
    for key in (r'"\000aaaaaaaaaaa"', '"aaaaaaaaaaa "', "aaaaaaaaaaa%00", "a" * 5000):
        nobody.headers["Cookie"] = f"sessionid={key}"
        assert not is_logged_in(nobody)
    assert SessionStore("\0aaaaaaaaaaa").session_key is None  # PostgreSQL refuses to look for it


def test_an_answer_is_not_lost_because_the_session_got_another_key_meanwhile(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    unseen = Caller(str(ann.base_url), ann.user, last_seen_at=long_ago())
    thread = unseen.thread()
    ollama.script = Script(["Hello"], hold_after=1)

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(unseen.post, f"/chat/response/{thread.pk}/", json={"message": "Hi"})
        ollama.wait_for_open(1)
        body = {"old_password": PASSWORD, "new_password": "an0ther-horse-battery"}
        assert unseen.post("/auth/password/change/", json=body).status_code == 200
        ollama.release()

    assert answer.result().status_code == 200
    assert answer.result().json()["response"] == "Hello"


def test_a_deleted_users_session_gets_no_new_key(ann: Caller) -> None:
    assert ann.user
    session = SessionStore(create_session(ann.user))
    assert session.get("last_seen_at")
    User.objects.filter(pk=ann.user.pk).delete()

    with pytest.raises(IntegrityError):  # and does not try for ever
        session.cycle_key()

    assert not Session.objects.exists()

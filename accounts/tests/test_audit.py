"""The audit log: a line for each thing that is done with an account."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import Token, User
from testing.admin import Browser
from testing.answers import error_of
from testing.audit import Audit
from testing.people import PASSWORD, Caller, create_user, log_in
from testing.processes import Server
from testing.waiting import wait_until

NEW = "an0ther-horse-battery"


@pytest.fixture
def audit(server: Server) -> Audit:
    """What the log says of the calls that carry `audit.headers`."""
    return Audit(server)


def test_a_line_tells_what_was_done_by_whom_and_from_where(audit: Audit, nobody: Caller) -> None:
    carl = create_user("carl")
    nobody.headers.update({**audit.headers, "X-Forwarded-For": "203.0.113.7"})

    nobody.post("/auth/login/", json={"username": "carl", "password": PASSWORD})

    line = audit.event("login")
    assert timezone.datetime.fromisoformat(line.pop("time")).tzinfo  # type: ignore[attr-defined]
    assert line == {
        "event": "login",
        "user": carl.pk,
        "by": carl.pk,
        "address": "203.0.113.7",
        "request_id": audit.request_id,
    }


def test_a_failed_login_names_the_account_and_not_what_was_typed(
    server: Server, audit: Audit, nobody: Caller
) -> None:
    carl = create_user("carl")
    typed = "my-password-in-the-wrong-field"
    unknown = Audit(server)

    body = {"username": "CARL", "password": typed}
    nobody.post("/auth/login/", json=body, headers=audit.headers)
    body = {"username": typed, "password": "x"}
    nobody.post("/auth/login/", json=body, headers=unknown.headers)

    assert audit.event("login_failed")["user"] == carl.pk
    assert audit.event("login_failed")["by"] is None
    assert unknown.event("login_failed")["user"] is None
    assert typed not in server.log()


def test_every_action_has_its_line(server: Server, audit: Audit, nobody: Caller) -> None:
    carl = {"username": "carl", "email": "carl@example.com", "password": PASSWORD}
    nobody.headers.update(audit.headers)
    nobody.post("/auth/register/", json=carl)
    pk = User.objects.get().pk
    caller = log_in(server.url, "carl", PASSWORD)
    other = log_in(server.url, "carl", PASSWORD)
    caller.headers.update(audit.headers)
    other.headers.update(audit.headers)

    def token() -> Any:
        return caller.post("/auth/tokens/", json={"name": "t", "days": 1}).json()

    revoked = token()
    used = token()
    for _ in range(2):  # noted once a minute
        nobody.get("/auth/status/", headers={"Authorization": f"Bearer {used['token']}"})
    caller.delete(f"/auth/tokens/{revoked['id']}/")
    ids = [s["id"] for s in caller.get("/auth/sessions/").json()["sessions"] if not s["current"]]
    caller.delete(f"/auth/sessions/{ids[0]}/")
    changed = caller.post(
        "/auth/password/change/", json={"old_password": PASSWORD, "new_password": NEW}
    )
    caller.headers["Cookie"] = changed.headers["Set-Cookie"].partition(";")[0]
    caller.delete("/auth/delete/")

    assert audit.events() == [
        "registration",
        "token_created",
        "token_created",
        "token_used",
        "token_revoked",
        "sessions_ended",
        "password_changed",
        "deletion",
    ]
    lines = audit.lines()
    assert {line["user"] for line in lines} == {pk}
    assert lines[3]["token"] == used["id"]
    for secret in (PASSWORD, NEW, used["token"], revoked["token"], caller.headers["Cookie"]):
        assert secret not in server.log()


def test_a_deactivation_names_who_did_it(audit: Audit, staff: Caller, bob: Caller) -> None:
    staff.post("/auth/deactivate/bob/", headers=audit.headers)

    line = audit.event("deactivation")
    assert (line["user"], line["by"]) == (bob.user.pk, staff.user.pk)  # type: ignore[union-attr]


def test_a_token_is_noted_again_after_a_minute(audit: Audit, ann: Caller) -> None:
    assert ann.user
    token, secret = Token.objects.issue(ann.user, "t", 1)
    Token.objects.update(last_used_at=timezone.now() - timezone.timedelta(seconds=61))  # type: ignore[attr-defined]

    for _ in range(2):
        ann.get(
            "/chat/threads/", headers={**audit.headers, "Authorization": f"Bearer {secret}"}
        ).raise_for_status()

    assert audit.event("token_used")["token"] == token.pk


def test_what_is_refused_has_no_line(audit: Audit, ann: Caller, bob: Caller) -> None:
    ann.headers.update(audit.headers)

    error_of(ann.post("/auth/deactivate/bob/"), 403, "forbidden")
    error_of(ann.delete("/auth/tokens/1/"), 404, "not_found")
    error_of(ann.post("/auth/tokens/", json={}), 400, "invalid")

    assert audit.events() == []


def test_nobody_can_write_a_line_of_the_log(server: Server, audit: Audit) -> None:
    staff = create_user("eve", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_thread"))
    eve = Browser(server.url, staff)
    forged = json.dumps({"event": "deactivation", "request_id": audit.request_id})

    for line_end in ("\n", "\r", "\r\n", "\u2028"):
        text = f"x{line_end}{forged}{line_end}"
        assert eve.get("/admin/chat/thread/", params={"_to_field": text}).status_code == 400
        assert eve.get("/admin/chat/thread/", params={text: "1"}).status_code == 400

    wait_until(lambda: server.log().count(audit.request_id) >= 8, 5)
    assert audit.lines() == []

"""POST /auth/email/change/: another e-mail address."""

from typing import Any

import pytest

from accounts.models import User
from testing.answers import error_of
from testing.audit import Audit
from testing.mail import Mailbox
from testing.people import PASSWORD, Caller, create_user, is_logged_in, log_in
from testing.processes import Server, StartServer
from testing.races import at_once
from testing.waiting import wait_until


def change(caller: Caller, email: str, **fields: str) -> Any:
    return caller.post("/auth/email/change/", json={"email": email, **fields})


def test_a_change_of_address_is_mailed_to_the_old_one(
    start_server: StartServer, mailbox: Mailbox
) -> None:
    server = start_server(EMAIL_URL=mailbox.url)
    ann = Caller(server.url, create_user("ann"))

    answer = change(ann, " Ann@NEW.example.org")

    assert answer.status_code == 200
    assert answer.json() == {"message": "E-mail address changed successfully"}
    assert User.objects.get().email == "Ann@new.example.org"
    assert is_logged_in(ann)
    assert log_in(server.url, "ann@new.example.org", PASSWORD)
    wait_until(lambda: mailbox.mails, timeout=10)
    (mail,) = mailbox.mails
    assert mail["To"] == "ann@example.com"
    assert "is now Ann@new.example.org" in str(mail.get_payload())


def test_the_same_address_again_changes_nothing(server: Server, ann: Caller) -> None:
    ann.headers.update((audit := Audit(server)).headers)

    assert change(ann, "ann@example.com").status_code == 200

    assert "email_changed" not in audit.events()


def test_the_old_address_is_free_for_somebody_else(ann: Caller, bob: Caller) -> None:
    change(ann, "new@example.com")

    assert change(bob, "ann@example.com").status_code == 200


def test_a_change_requires_the_password_ten_minutes_after_the_login(old: Caller) -> None:
    for fields in ({}, {"password": "wrong"}):
        body = error_of(change(old, "new@example.com", **fields), 400, "invalid")
        assert body["fields"].keys() == {"password"}
    assert User.objects.get().email == "ann@example.com"

    assert change(old, "new@example.com", password=PASSWORD).status_code == 200


@pytest.mark.parametrize("address", ["BOB@example.com", "", "nonsense", "a@b@c.de", "a\n@b.de"])
def test_a_taken_or_invalid_address_is_refused(ann: Caller, bob: Caller, address: str) -> None:
    body = error_of(change(ann, address), 400, "invalid")

    assert body["fields"].keys() == {"email"}
    assert User.objects.get(username="ann").email == "ann@example.com"


def test_of_two_users_who_want_one_address_at_once_one_gets_it(ann: Caller, bob: Caller) -> None:
    changed, refused = at_once(
        lambda: change(ann, "new@example.com"), lambda: change(bob, "NEW@example.com")
    )

    assert changed.status_code == 200
    assert error_of(refused, 400, "invalid")["fields"].keys() == {"email"}


def test_a_change_of_address_is_in_the_audit_log(server: Server, ann: Caller) -> None:
    assert ann.user
    ann.headers.update((audit := Audit(server)).headers)

    change(ann, "new@example.com")

    assert audit.event("email_changed")["user"] == ann.user.pk


def test_changes_of_address_are_limited_as_registrations_are(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_REGISTER="1/d")
    ann = Caller(server.url, create_user("ann"))
    create_user("bob")

    change(ann, "bob@example.com")

    error_of(change(ann, "new@example.com"), 429, "rate_limited")

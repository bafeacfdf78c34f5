"""POST /auth/password/reset/ and its confirm/: a new password by e-mail."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.models import Session, User
from testing.answers import error_of
from testing.audit import Audit
from testing.mail import Mailbox
from testing.people import PASSWORD, Caller, create_user, is_logged_in, log_in
from testing.processes import Server, StartServer, free_port
from testing.races import at_once
from testing.waiting import wait_until

NEW = "an0ther-horse-battery"


class Generator(PasswordResetTokenGenerator):
    """Makes tokens as the server did some time ago."""

    def __init__(self, age: timedelta = timedelta()) -> None:
        super().__init__()
        self.age = age

    def _now(self) -> datetime:
        return datetime.now() - self.age


def reset(caller: Caller, user: User, token: str, **fields: Any) -> Any:
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    body = {"uid": uid, "token": token, "new_password": NEW, **fields}
    return caller.post("/auth/password/reset/confirm/", json=body)


def test_a_mail_has_the_link_to_a_new_password(start_server: StartServer, mailbox: Mailbox) -> None:
    link = "https://app.example.com/reset?uid={uid}&token={token}"
    server = start_server(
        EMAIL_URL=mailbox.url, PASSWORD_RESET_URL=link, DEFAULT_FROM_EMAIL="us@our.org"
    )
    ann = Caller(server.url, create_user("ann", email="Ann@example.com"))
    create_user("gone", is_active=False)
    nobody = Caller(server.url)

    answers = [
        nobody.post("/auth/password/reset/", json={"email": email})
        for email in ("unknown@example.com", "gone@example.com", " ann@EXAMPLE.com")
    ]

    # What is said does not tell who has an account; only Ann gets a mail, at the address she gave.
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.text for answer in answers}) == 1
    wait_until(lambda: mailbox.mails, timeout=10)
    mail = mailbox.mails[0]
    assert (mail["From"], mail["To"]) == ("us@our.org", "Ann@example.com")
    assert "Hello ann" in mail.get_payload()

    found = re.search(r"https://app\.example\.com/reset\?uid=(\w+)&token=(\S+)", mail.get_payload())
    assert found
    uid, token = found.groups()
    body = {"uid": uid, "token": token, "new_password": NEW}
    answer = nobody.post("/auth/password/reset/confirm/", json=body)
    assert answer.status_code == 200
    assert not is_logged_in(ann)
    assert log_in(server.url, "ann", NEW)
    assert len(mailbox.mails) == 1


def test_a_mail_that_cannot_be_sent_is_only_logged(
    start_server: StartServer,
) -> None:
    server = start_server(EMAIL_URL=f"smtp://127.0.0.1:{free_port()}")
    create_user("ann")

    answer = Caller(server.url).post("/auth/password/reset/", json={"email": "ann@example.com"})

    assert answer.status_code == 200
    wait_until(lambda: "An e-mail could not be sent" in server.log())


def test_a_token_changes_the_password_and_ends_every_session(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)
    assert ann.user

    answer = reset(ann, ann.user, Generator().make_token(ann.user))

    assert answer.status_code == 200
    assert answer.json() == {"message": "Password changed successfully"}
    assert User.objects.get().check_password(NEW)
    assert not is_logged_in(ann)
    assert not is_logged_in(elsewhere)
    assert not Session.objects.exists()


def test_a_token_serves_once(nobody: Caller) -> None:
    carl = create_user("carl")
    token = Generator().make_token(carl)
    assert reset(nobody, carl, token).status_code == 200

    body = error_of(reset(nobody, carl, token, new_password=PASSWORD), 400, "invalid")

    assert body["fields"].keys() == {"token"}
    assert User.objects.get().check_password(NEW)


def test_of_two_resets_at_once_with_one_token_one_wins(nobody: Caller) -> None:
    carl = create_user("carl")
    token = Generator().make_token(carl)

    won, lost = at_once(
        lambda: reset(nobody, carl, token),
        lambda: reset(nobody, carl, token, new_password=f"{NEW}-2"),
    )

    assert won.status_code == 200
    error_of(lost, 400, "invalid")
    carl.refresh_from_db()
    assert carl.check_password(NEW) != carl.check_password(f"{NEW}-2")


@pytest.mark.parametrize(("minutes", "status"), [(59, 200), (61, 400)])
def test_a_token_serves_for_an_hour(nobody: Caller, minutes: int, status: int) -> None:
    carl = create_user("carl")
    token = Generator(age=timedelta(minutes=minutes)).make_token(carl)

    answer = reset(nobody, carl, token)

    assert answer.status_code == status
    assert User.objects.get().check_password(NEW) == (status == 200)


def test_a_token_is_worth_nothing_after_a_login(nobody: Caller) -> None:
    carl = create_user("carl")
    token = Generator().make_token(carl)
    log_in(str(nobody.base_url), "carl", PASSWORD)

    error_of(reset(nobody, carl, token), 400, "invalid")


def test_a_token_serves_nobody_else(nobody: Caller) -> None:
    carl, dora = create_user("carl"), create_user("dora")
    gone = create_user("gone", is_active=False)
    token = Generator().make_token(carl)

    error_of(reset(nobody, dora, token), 400, "invalid")
    error_of(reset(nobody, gone, Generator().make_token(gone)), 400, "invalid")


@pytest.mark.parametrize(
    "fields",
    [
        {"token": "wrong"},
        {"token": ""},
        {"token": "zzzzzzzzzzzzzz-1"},
        {"token": "ü-ü"},
        {"uid": ""},
        {"uid": "!"},
        {"uid": "ü"},
        {"uid": urlsafe_base64_encode(b"0")},
        {"uid": urlsafe_base64_encode(b"\xff\xff")},
        {"uid": urlsafe_base64_encode(b"9" * 70)},
    ],
)
def test_a_link_that_was_tampered_with_is_refused(nobody: Caller, fields: dict[str, str]) -> None:
    carl = create_user("carl")
    token = Generator().make_token(carl)

    body = error_of(reset(nobody, carl, **{"token": token, **fields}), 400, "invalid")

    assert body["fields"].keys() == {"token"}
    assert User.objects.get().check_password(PASSWORD)


def test_a_weak_password_does_not_use_the_token_up(nobody: Caller) -> None:
    carl = create_user("carl")
    token = Generator().make_token(carl)

    body = error_of(reset(nobody, carl, token, new_password="password"), 400, "invalid")

    assert body["fields"].keys() == {"new_password"}
    assert reset(nobody, carl, token).status_code == 200


def test_a_reset_is_in_the_audit_log_without_its_secrets(server: Server, nobody: Caller) -> None:
    carl = create_user("carl")
    asked, used, token = Audit(server), Audit(server), Generator().make_token(carl)

    body = {"email": "carl@example.com"}
    nobody.post("/auth/password/reset/", json=body, headers=asked.headers)
    nobody.headers.update(used.headers)
    reset(nobody, carl, token)

    assert asked.event("password_reset_asked")["user"] == carl.pk
    assert used.events() == ["password_changed", "password_reset"]
    assert token not in server.log()
    assert NEW not in server.log()

"""DELETE /auth/delete/: the end of an account."""

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Session, Token, User
from chat.models import Thread
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user, is_logged_in, token_of
from testing.processes import Server
from testing.races import at_once
from testing.waiting import wait_until


def test_an_account_is_deleted_with_all_that_belongs_to_it(ann: Caller, bob: Caller) -> None:
    ann.thread()
    theirs = bob.thread()
    token_of(ann)

    answer = ann.delete("/auth/delete/")

    assert answer.status_code == 200
    assert answer.json() == {"message": "User deleted successfully"}
    assert User.objects.get() == bob.user
    assert not is_logged_in(ann)
    wait_until(lambda: User.all_objects.get() == bob.user if User.all_objects.count() == 1 else 0)
    assert Session.objects.get().user == bob.user
    assert Thread.all_objects.get() == theirs
    assert not Token.objects.exists()


def test_a_deletion_requires_the_password_ten_minutes_after_the_login(old: Caller) -> None:
    body = error_of(old.delete("/auth/delete/"), 400, "invalid")

    assert body["fields"].keys() == {"password"}
    assert User.objects.exists()


def test_a_wrong_password_is_refused_even_after_a_recent_login(ann: Caller, old: Caller) -> None:
    for caller in (ann, old):
        answer = caller.request("DELETE", "/auth/delete/", json={"password": "wrong"})
        assert error_of(answer, 400, "invalid")["fields"].keys() == {"password"}
    assert User.objects.exists()


def test_an_account_is_deleted_with_the_password_after_an_old_login(old: Caller) -> None:
    answer = old.request("DELETE", "/auth/delete/", json={"password": PASSWORD})

    assert answer.status_code == 200
    assert not User.objects.exists()


def test_two_deletions_at_once_delete_once(ann: Caller) -> None:
    one, other = at_once(lambda: ann.delete("/auth/delete/"), lambda: ann.delete("/auth/delete/"))

    assert one.status_code == 200
    assert other.status_code in (200, 400, 401)  # 400: its session ended while it was under way
    assert not User.objects.exists()


def test_a_deletion_requires_a_login(nobody: Caller) -> None:
    error_of(nobody.delete("/auth/delete/"), 401, "not_authenticated")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/tokens/", {"name": "my script", "days": 1}),
        ("/auth/email/change/", {"email": "new@example.com"}),
        ("/chat/threads/new/", {}),
    ],
)
def test_a_call_at_the_moment_of_the_deletion_is_done_or_refused(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    for number in range(12):
        user = create_user(f"user-{number}")
        one, other = Caller(server.url, user), Caller(server.url, user)

        call = partial(one.post, path, json=body)
        answers = at_once(call, partial(other.delete, "/auth/delete/"))

        assert {answer.status_code for answer in answers} <= {200, 201, 401}, answers[-1].text
        assert not User.objects.filter(pk=user.pk).exists()


def test_only_a_deletion_that_was_stored_is_in_the_audit_log(
    ann: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "audit"), suppress(ZeroDivisionError), transaction.atomic():
        assert ann.user
        ann.user.delete()
        raise ZeroDivisionError

    assert User.objects.filter(username="ann").exists()
    assert "deletion" not in caplog.text

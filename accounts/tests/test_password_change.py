"""POST /auth/password/change/: a new password for the old one."""

from typing import Any

import pytest

from accounts.models import Session, User
from testing.answers import cookie_of, error_of
from testing.people import PASSWORD, Caller, is_logged_in, log_in, token_of
from testing.races import at_once, meanwhile

NEW = "an0ther-horse-battery"


def change(caller: Caller, old: str = PASSWORD, new: str = NEW) -> Any:
    body = {"old_password": old, "new_password": new}
    return caller.post("/auth/password/change/", json=body)


def test_a_change_of_password_ends_the_other_sessions(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    answer = change(ann)

    assert answer.status_code == 200
    assert answer.json() == {"message": "Password changed successfully"}
    assert User.objects.get().check_password(NEW)
    assert not is_logged_in(elsewhere)
    ann.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    assert is_logged_in(ann)
    assert Session.objects.count() == 1
    assert log_in(str(ann.base_url), "ann", NEW)


def test_the_session_that_stays_has_a_new_key(ann: Caller) -> None:
    answer = change(ann)

    assert cookie_of(answer).value not in ann.headers["Cookie"]
    assert not is_logged_in(ann)  # with the old one


def test_a_token_stays(ann: Caller) -> None:
    secret = token_of(ann)

    change(ann)

    answer = ann.get("/chat/threads/", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200


def test_a_wrong_old_password_is_refused(ann: Caller) -> None:
    body = error_of(change(ann, old="wrong"), 400, "invalid")

    assert body["fields"].keys() == {"old_password"}
    assert User.objects.get().check_password(PASSWORD)
    assert is_logged_in(ann)


@pytest.mark.parametrize("weak", ["sh0rt!", "password123", "ann@example.com"])
def test_a_weak_new_password_is_refused(ann: Caller, weak: str) -> None:
    body = error_of(change(ann, new=weak), 400, "invalid")

    assert body["fields"].keys() == {"new_password"}
    assert User.objects.get().password == ann.user.password  # type: ignore[union-attr]
    assert is_logged_in(ann)


def test_of_two_changes_at_once_one_has_the_wrong_old_password(ann: Caller) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    changed, refused = at_once(lambda: change(ann), lambda: change(elsewhere, new=f"{NEW}-2"))

    assert changed.status_code == 200
    assert refused.status_code in (400, 401)  # 401: its session had ended before it came
    user = User.objects.get()
    assert user.check_password(NEW) != user.check_password(f"{NEW}-2")
    assert Session.objects.get().session_key == cookie_of(changed).value


def test_a_user_deactivated_meanwhile_keeps_no_session_and_no_new_password(ann: Caller) -> None:
    assert ann.user

    answer = meanwhile(lambda: change(ann), ann.user.deactivate)

    error_of(answer, 400, "invalid")
    after = User.objects.get()
    assert not after.is_active
    assert after.check_password(PASSWORD)
    assert not Session.objects.exists()


def test_a_change_of_password_requires_a_session(nobody: Caller) -> None:
    error_of(change(nobody), 401, "not_authenticated")

"""GET /auth/status/: who is asking."""

import pytest

from accounts.models import Session, User
from testing.answers import error_of
from testing.people import Caller

NOBODY = {"message": "User is not logged in", "authenticated": False, "user": None}


def test_the_status_names_the_user_who_is_logged_in(ann: Caller) -> None:
    answer = ann.get("/auth/status/")

    assert answer.status_code == 200
    assert answer.json() == {
        "message": "User is logged in",
        "authenticated": True,
        "user": {
            "id": ann.user.pk,  # type: ignore[union-attr]
            "username": "ann",
            "email": "ann@example.com",
            "is_staff": False,
        },
    }


def test_the_status_says_that_nobody_is_logged_in(nobody: Caller) -> None:
    answer = nobody.get("/auth/status/")

    assert answer.status_code == 200
    assert answer.json() == NOBODY


@pytest.mark.parametrize("change", ["expired", "tampered", "deactivated", "deleted"])
def test_a_session_that_has_ended_is_nobodys(ann: Caller, change: str) -> None:
    if change == "expired":
        Session.objects.update(expire_date="2020-01-01T00:00:00Z")
    elif change == "tampered":
        Session.objects.update(session_data="a-forged-session")
    elif change == "deactivated":
        User.objects.update(is_active=False)  # by hand: its sessions are there still
    else:
        User.objects.all().delete()

    assert ann.get("/auth/status/").json() == NOBODY


def test_a_token_that_is_not_valid_is_an_error(ann: Caller) -> None:
    answer = ann.get("/auth/status/", headers={"Authorization": "Bearer llama_00000000_wrong"})

    error_of(answer, 401, "not_authenticated")

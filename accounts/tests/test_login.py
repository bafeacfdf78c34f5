"""POST /auth/login/: a session for a name or an address with its password."""

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import hashers
from django.test import AsyncClient, RequestFactory
from django.utils.crypto import pbkdf2

from accounts import passwords, sessions
from accounts.models import Session, User
from core.errors import ApiError
from testing.answers import cookie_of, error_of
from testing.people import PASSWORD, Caller, create_user, is_logged_in
from testing.races import at_once


def log_in(caller: Caller, name: str, password: str = PASSWORD) -> Any:
    return caller.post("/auth/login/", json={"username": name, "password": password})


@pytest.mark.parametrize("name", ["carl", "CARL", "carl@example.com", "Carl@Example.COM"])
def test_a_user_logs_in_by_name_or_address_in_any_case(nobody: Caller, name: str) -> None:
    carl = create_user("Carl")

    answer = log_in(nobody, name)

    assert answer.status_code == 200
    user = {"id": carl.pk, "username": "Carl", "email": carl.email, "is_staff": False}
    assert answer.json() == {"message": "Login successful", "user": user}
    nobody.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    assert nobody.get("/auth/status/").json()["user"]["id"] == carl.pk
    carl.refresh_from_db()
    assert carl.last_login


@pytest.mark.parametrize(
    ("page", "server", "is_trap"),
    [
        ("http://localhost:3000", "127.0.0.1:8000", True),
        ("http://127.0.0.1:3000", "localhost:8000", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("https://app.example.com", "localhost:8000", False),
        (None, "127.0.0.1:8000", False),
    ],
)
def test_a_login_names_the_trap_of_two_names_for_one_machine(
    page: str | None, server: str, is_trap: bool
) -> None:
    headers = {"Host": server, **({"Origin": page} if page else {})}
    request = RequestFactory().post("/auth/login/", headers=headers)

    warning = sessions.cookie_trap(request)

    assert bool(warning) == is_trap
    assert not is_trap or ("localhost" in str(warning) and "127.0.0.1" in str(warning))


def test_only_the_server_sees_the_sessions_cookie(nobody: Caller) -> None:
    create_user("carl")

    cookie = cookie_of(log_in(nobody, "carl"))

    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"


def test_each_login_has_a_new_key(ann: Caller) -> None:
    before = ann.headers["Cookie"]

    answer = log_in(ann, "ann")

    assert cookie_of(answer).value not in before
    assert not is_logged_in(ann)  # the old key is worth nothing
    assert Session.objects.get().session_key == cookie_of(answer).value


def test_a_session_id_of_the_clients_own_is_not_taken(nobody: Caller) -> None:
    create_user("carl")
    chosen = "a" * 32
    nobody.headers["Cookie"] = f"sessionid={chosen}"

    answer = log_in(nobody, "carl")

    assert cookie_of(answer).value != chosen
    assert not is_logged_in(nobody)


def test_a_wrong_an_unknown_and_a_deactivated_account_get_the_same_answer(nobody: Caller) -> None:
    create_user("carl")
    create_user("gone", is_active=False)

    answers = [log_in(nobody, "carl", "wrong"), log_in(nobody, "dora"), log_in(nobody, "gone")]

    for answer in answers:
        assert error_of(answer, 400, "invalid")["error"] == "Invalid username or password"
        assert "Set-Cookie" not in answer.headers
    assert len({answer.text for answer in answers}) == 1
    assert len({tuple(answer.headers) for answer in answers}) == 1
    assert not Session.objects.exists()


@pytest.fixture
def iterations_spent(database: None) -> Iterator[list[int]]:
    """The iterations of each hash that is computed: what a login's time is made of."""
    spent: list[int] = []

    def counted(password: str, salt: str, iterations: int, digest: Any) -> bytes:
        spent.append(iterations)
        return pbkdf2(password, salt, 1, digest=digest)

    with patch.object(hashers, "pbkdf2", counted):
        yield spent


@pytest.mark.parametrize("name", ["carl", "gone", "unusable", "unknown", "unknown@example.com"])
def test_a_refusal_takes_the_same_time_for_every_account(
    iterations_spent: list[int], name: str
) -> None:
    User.objects.create_user("carl", "carl@example.com", PASSWORD)
    User.objects.create_user("gone", "gone@example.com", PASSWORD, is_active=False)
    User.objects.create_user("unusable", "unusable@example.com", None)
    iterations_spent.clear()

    with pytest.raises(ApiError):
        passwords.authenticate(RequestFactory().post("/"), name, "wrong")

    assert iterations_spent == [hashers.get_hasher().iterations]  # type: ignore[attr-defined]


def test_two_logins_at_once_are_two_sessions(nobody: Caller) -> None:
    create_user("carl")

    answers = at_once(lambda: log_in(nobody, "carl"), lambda: log_in(nobody, "carl"))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert Session.objects.count() == 2


def test_a_login_clears_the_users_expired_sessions(ann: Caller) -> None:
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")

    answer = log_in(ann, "ann")

    assert Session.objects.get().session_key == cookie_of(answer).value


def test_an_account_deleted_at_this_moment_is_an_unknown_one(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticate = passwords.authenticate

    def then_delete(*args: Any) -> User:
        user = authenticate(*args)
        User.objects.filter(pk=user.pk).delete()
        return user

    create_user("gone")
    monkeypatch.setattr(passwords, "authenticate", then_delete)

    body = {"username": "gone", "password": PASSWORD}
    logging_in = AsyncClient().post("/auth/login/", body, content_type="application/json")
    answer = asyncio.run(logging_in)

    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid username or password")
    assert not Session.objects.exists()

"""POST /auth/register/: a new account."""

from typing import Any

import pytest

from accounts.models import User
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Server
from testing.races import at_once

CARL = {"username": "carl", "email": "carl@example.com", "password": PASSWORD}


def register(caller: Caller, **fields: Any) -> Any:
    return caller.post("/auth/register/", json={**CARL, **fields})


def test_a_registration_creates_an_account_and_does_not_log_in(nobody: Caller) -> None:
    answer = register(nobody, username="Carl", email=" Carl@EXAMPLE.com ")

    assert answer.status_code == 201
    assert answer.json() == {
        "message": "User created successfully",
        "username": "Carl",
        "email": "Carl@example.com",
    }
    assert "Set-Cookie" not in answer.headers
    carl = User.objects.get()
    assert (carl.username, carl.email) == ("Carl", "Carl@example.com")
    assert (carl.is_active, carl.is_staff, carl.is_superuser) == (True, False, False)
    assert carl.check_password(PASSWORD)
    assert PASSWORD not in carl.password


def test_a_name_that_is_taken_in_another_case_is_refused(nobody: Caller) -> None:
    create_user("CARL", email="somebody@example.com")

    body = error_of(register(nobody), 400, "invalid")

    assert body["fields"] == {"username": ["This name is taken."]}
    assert User.objects.count() == 1


def test_an_address_that_is_taken_in_another_case_is_refused(nobody: Caller) -> None:
    create_user("somebody", email="CARL@example.com")

    body = error_of(register(nobody), 400, "invalid")

    assert body["fields"] == {"email": ["This e-mail address is taken."]}
    assert User.objects.count() == 1


def test_all_that_is_wrong_is_named_at_once(nobody: Caller) -> None:
    create_user("carl")

    body = error_of(register(nobody, email="nowhere", password="1234"), 400, "invalid")

    assert body["fields"].keys() == {"username", "email", "password"}


@pytest.mark.parametrize(
    "password",
    ["sh0rt!", "password123", "9081726354", "carl@example.co"],
    ids=["short", "common", "digits", "like the address"],
)
def test_a_weak_password_is_refused(nobody: Caller, password: str) -> None:
    body = error_of(register(nobody, password=password), 400, "invalid")

    assert body["fields"].keys() == {"password"}
    assert password not in str(body)
    assert not User.objects.exists()


def test_a_password_has_at_most_128_characters(nobody: Caller) -> None:
    long = "corr3ct-horse-" * 10

    body = error_of(register(nobody, password=long[:129]), 400, "invalid")
    answer = register(nobody, password=long[:128])

    assert body["fields"].keys() == {"password"}
    assert answer.status_code == 201
    assert User.objects.get().check_password(long[:128])


@pytest.mark.parametrize("name", ["", " ", "a b", "carl@example.com", "çarl", "carl\n", "c" * 151])
def test_a_name_of_other_characters_is_refused(nobody: Caller, name: str) -> None:
    body = error_of(register(nobody, username=name), 400, "invalid")

    assert body["fields"].keys() == {"username"}
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["", "carl", "@", "carl@", f"{'c' * 250}@example.com"])
def test_an_invalid_address_is_refused(nobody: Caller, email: str) -> None:
    body = error_of(register(nobody, email=email), 400, "invalid")

    assert body["fields"].keys() == {"email"}
    assert not User.objects.exists()


def test_of_two_registrations_at_once_with_one_name_one_is_refused(nobody: Caller) -> None:
    created, refused = at_once(
        lambda: register(nobody, email="one@example.com"),
        lambda: register(nobody, username="CARL", email="two@example.com"),
    )

    assert created.status_code == 201
    body = error_of(refused, 400, "invalid")
    assert body["fields"] == {"username": ["This name is taken."]}
    assert User.objects.count() == 1


def test_an_unknown_field_is_refused(nobody: Caller) -> None:
    body = error_of(register(nobody, is_staff=True), 400, "invalid")

    assert body["fields"].keys() == {"is_staff"}
    assert not User.objects.exists()


def test_no_password_is_logged(server: Server, nobody: Caller) -> None:
    register(nobody, password="an-unlikely-password-of-a-test")
    register(nobody, password="an-unlikely-password-of-a-test")

    assert "an-unlikely-password" not in server.log()

"""User names and e-mail addresses that nobody may have."""

import pytest

from accounts.models import User
from testing.admin import Browser, add
from testing.answers import error_of
from testing.people import PASSWORD, Caller

LOOK_ALIKES = [
    "ann@ex\u0430mple.com",  # Cyrillic
    "ann@\u212aeyboard.com",  # the sign for kelvin, whose lower case is k
    "ann@\uff45xample.com",  # full width
    "ann@m\u0131ke.com",  # a dotless i
]


def register(caller: Caller, username: str, email: str) -> dict[str, list[str]]:
    body = {"username": username, "email": email, "password": PASSWORD}
    fields: dict[str, list[str]] = error_of(
        caller.post("/auth/register/", json=body), 400, "invalid"
    )["fields"]
    return fields


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_is_a_step_in_a_path_is_refused(nobody: Caller, name: str) -> None:
    assert register(nobody, name, "ann@example.com").keys() == {"username"}


@pytest.mark.parametrize("name", ["...", ".a", "a.", "-", "_"])
def test_other_names_with_dots_may_be_had(nobody: Caller, name: str) -> None:
    body = {"username": name, "email": "ann@example.com", "password": PASSWORD}
    assert nobody.post("/auth/register/", json=body).status_code == 201


@pytest.mark.parametrize("email", LOOK_ALIKES)
def test_a_domain_that_looks_like_another_is_refused(nobody: Caller, email: str) -> None:
    (problem,) = register(nobody, "ann", email)["email"]

    assert "xn--" in problem  # how to write it


def test_an_international_domain_may_be_had_in_ascii(nobody: Caller) -> None:
    body = {"username": "ann", "email": "ann@xn--mller-kva.de", "password": PASSWORD}
    assert nobody.post("/auth/register/", json=body).status_code == 201


@pytest.mark.parametrize("email", LOOK_ALIKES)
def test_a_look_alike_address_is_refused_when_it_is_changed_to(ann: Caller, email: str) -> None:
    answer = ann.post("/auth/email/change/", json={"email": email})

    assert error_of(answer, 400, "invalid")["fields"].keys() == {"email"}


def test_the_admin_refuses_look_alike_addresses_too(root: Browser) -> None:
    assert "errorlist" in add(root, "..", PASSWORD).text
    assert not User.objects.filter(username="..").exists()

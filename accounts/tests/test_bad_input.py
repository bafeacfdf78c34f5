"""What no call under /auth/ takes: bodies that are not what they should be, wrong methods."""

from typing import Any

import httpx
import pytest

from accounts.models import Session, User
from testing.answers import error_of
from testing.people import Caller

JSON = {"Content-Type": "application/json"}

# Each call that takes a body, with one that it could take.
BODIES: dict[str, dict[str, Any]] = {
    "POST /auth/register/": {"username": "x", "email": "x@example.com", "password": "x"},
    "POST /auth/login/": {"username": "x", "password": "x"},
    "DELETE /auth/delete/": {"password": "x"},
    "POST /auth/password/change/": {"old_password": "x", "new_password": "x"},
    "POST /auth/email/change/": {"email": "x@example.com"},
    "POST /auth/password/reset/": {"email": "x@example.com"},
    "POST /auth/password/reset/confirm/": {"uid": "x", "token": "x", "new_password": "x"},
    "POST /auth/tokens/": {"name": "x", "days": 1},
}

UNREADABLE = {
    "not JSON": b"username=ann&password=x",
    "half": b'{"username": "ann"',
    "not UTF-8": b'{"username": "\xff"}',
    "a lone surrogate": rb'{"username": "\ud800"}',
    "200,000 brackets": b"[" * 200_000,
    "a number of 5,000 digits": b'{"days": ' + b"9" * 5_000 + b"}",
    "NaN": b'{"days": NaN}',
}


# The only one that may be called without a body, and without its field.
OPTIONAL = "DELETE /auth/delete/"
NEEDING_A_BODY = [which for which in BODIES if which != OPTIONAL]
FIELDS = [(which, field) for which, body in BODIES.items() for field in body]

every_call = pytest.mark.parametrize("which", BODIES)


def call(caller: Caller, which: str, **arguments: Any) -> httpx.Response:
    method, path = which.split()
    return caller.request(method, path, **arguments)


@pytest.fixture(autouse=True)
def nothing_is_changed(ann: Caller) -> Any:
    yield
    assert User.objects.get() == ann.user
    assert User.objects.get().password == ann.user.password
    assert Session.objects.count() == 1
    assert not User.objects.get().tokens.exists()


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@every_call
def test_a_body_that_cannot_be_read_is_refused(ann: Caller, which: str, body: bytes) -> None:
    error_of(call(ann, which, content=body, headers=JSON), 400, "invalid_json")


@pytest.mark.parametrize("which", NEEDING_A_BODY)
def test_a_missing_body_is_refused(ann: Caller, which: str) -> None:
    error_of(call(ann, which, content=b"", headers=JSON), 400, "invalid")


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
@every_call
def test_a_body_that_is_no_object_is_refused(ann: Caller, which: str, body: bytes) -> None:
    error_of(call(ann, which, content=body, headers=JSON), 400, "invalid")


@pytest.mark.parametrize("value", [1, True, ["x"], {"x": "x"}, "x\0y"])
@pytest.mark.parametrize(("which", "field"), [pair for pair in FIELDS if pair[1] != "days"])
def test_a_field_of_the_wrong_type_is_named(
    ann: Caller, which: str, field: str, value: Any
) -> None:
    error = error_of(call(ann, which, json={**BODIES[which], field: value}), 400, "invalid")

    assert error["fields"].keys() == {field}


@pytest.mark.parametrize(
    ("which", "field"), [pair for pair in FIELDS if pair[1] != "days" and pair[0] != OPTIONAL]
)
def test_a_field_that_is_null_is_named(ann: Caller, which: str, field: str) -> None:
    error = error_of(call(ann, which, json={**BODIES[which], field: None}), 400, "invalid")

    assert error["fields"].keys() == {field}


@pytest.mark.parametrize("days", [None, "1", 1.5, True, 0, -1, 367, 10**30])
def test_an_invalid_number_of_days_is_refused(ann: Caller, days: Any) -> None:
    answer = ann.post("/auth/tokens/", json={"name": "x", "days": days})

    assert error_of(answer, 400, "invalid")["fields"].keys() == {"days"}


@pytest.mark.parametrize(("which", "field"), [pair for pair in FIELDS if pair[0] != OPTIONAL])
def test_a_field_that_is_missing_is_named(ann: Caller, which: str, field: str) -> None:
    rest = {name: value for name, value in BODIES[which].items() if name != field}

    assert error_of(call(ann, which, json=rest), 400, "invalid")["fields"].keys() == {field}


@every_call
def test_a_field_that_is_not_known_is_named(ann: Caller, which: str) -> None:
    error = error_of(call(ann, which, json={**BODIES[which], "more": 1}), 400, "invalid")

    assert error["fields"].keys() == {"more"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
@every_call
def test_a_body_of_another_type_is_refused(ann: Caller, which: str, kind: str) -> None:
    answer = call(ann, which, content=b"{}", headers={"Content-Type": kind})

    error_of(answer, 415, "unsupported_media_type")


@every_call
def test_a_body_of_more_than_a_mebibyte_is_refused(ann: Caller, which: str) -> None:
    answer = call(ann, which, content=b" " * (1024 * 1024 + 1), headers=JSON)

    error_of(answer, 413, "too_large")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/auth/register/", {"POST"}),
        ("/auth/login/", {"POST"}),
        ("/auth/logout/", {"POST"}),
        ("/auth/status/", {"GET"}),
        ("/auth/delete/", {"DELETE"}),
        ("/auth/deactivate/ann/", {"POST", "DELETE"}),
        ("/auth/password/change/", {"POST"}),
        ("/auth/email/change/", {"POST"}),
        ("/auth/password/reset/", {"POST"}),
        ("/auth/password/reset/confirm/", {"POST"}),
        ("/auth/sessions/", {"GET", "DELETE"}),
        ("/auth/sessions/1/", {"DELETE"}),
        ("/auth/tokens/", {"GET", "POST"}),
        ("/auth/tokens/1/", {"DELETE"}),
    ],
)
def test_another_method_is_refused_with_those_allowed(
    ann: Caller, path: str, methods: set[str]
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
        answer = ann.request(method, path)
        error_of(answer, 405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == methods

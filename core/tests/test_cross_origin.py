"""The protection that stands in the place of CSRF tokens: its four questions, in their order."""

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import PASSWORD, Caller
from testing.processes import Server

LISTED = "https://app.example.com"
STRANGER = "https://evil.example.com"


def begins(caller: Caller, **headers: str) -> bool:
    """Return whether a call with these headers begins a thread."""
    number = Thread.objects.count()
    answer = caller.post("/chat/threads/new/", headers=headers)
    if answer.status_code == 201:
        assert Thread.objects.count() == number + 1
        return True
    error_of(answer, 403, "cross_origin")
    assert Thread.objects.count() == number
    return False


def test_first_a_listed_origin_is_allowed(ann: Caller) -> None:
    for site in ("cross-site", "same-site", "same-origin"):
        assert begins(ann, **{"Origin": LISTED, "Sec-Fetch-Site": site})
    assert begins(ann, Origin=LISTED)


@pytest.mark.parametrize(
    ("site", "is_allowed"),
    [
        ("same-origin", True),
        ("none", True),
        ("same-site", False),
        ("cross-site", False),
        ("x", False),
    ],
)
def test_second_what_the_browser_says_counts(
    server: Server, ann: Caller, site: str, is_allowed: bool
) -> None:
    for origin in ({}, {"Origin": STRANGER}, {"Origin": server.url}, {"Origin": "null"}):
        assert begins(ann, **{"Sec-Fetch-Site": site, **origin}) == is_allowed


def test_third_a_script_has_no_origin(ann: Caller) -> None:
    assert begins(ann)


def test_fourth_the_origin_must_be_the_servers_own(server: Server, ann: Caller) -> None:
    assert begins(ann, Origin=server.url)
    for origin in (
        STRANGER,
        "null",
        "",
        server.url.replace("http:", "https:"),
        f"{server.url}1",
        f"{server.url}/",
        server.url.replace("127.0.0.1", "localhost"),
    ):
        assert not begins(ann, Origin=origin)


def test_behind_a_proxy_the_scheme_is_the_browsers(server: Server, ann: Caller) -> None:
    https = server.url.replace("http:", "https:")

    assert begins(ann, **{"Origin": https, "X-Forwarded-Proto": "https"})
    assert not begins(ann, **{"Origin": server.url, "X-Forwarded-Proto": "https"})


def test_a_forged_host_is_not_believed(ann: Caller) -> None:
    answer = ann.post(
        "/chat/threads/new/", headers={"Origin": STRANGER, "Host": "evil.example.com"}
    )

    error_of(answer, 400, "invalid")
    assert not Thread.objects.exists()


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 405), ("OPTIONS", 405)])
def test_reading_is_allowed_from_anywhere(ann: Caller, method: str, status: int) -> None:
    headers = {"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"}

    assert ann.request(method, "/chat/threads/", headers=headers).status_code == status


def test_login_and_registration_are_protected_too(ann: Caller, nobody: Caller) -> None:
    stranger = {"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"}
    login = {"username": "ann", "password": PASSWORD}

    for path in ("/auth/login/", "/auth/register/"):
        answer = nobody.post(path, json=login, headers=stranger)
        error_of(answer, 403, "cross_origin")
        assert "Set-Cookie" not in answer.headers


def test_an_old_browsers_form_is_refused(ann: Caller) -> None:
    """It sends no `Sec-Fetch-Site` and no preflight, but the cookies."""
    answer = ann.post("/chat/threads/new/", data={"title": "x"}, headers={"Origin": STRANGER})

    error_of(answer, 403, "cross_origin")

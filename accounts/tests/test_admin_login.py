"""The admin's login, which is the API's, and its forms' tokens."""

from uuid import uuid4

import httpx
import pytest

from testing.admin import (
    Browser,
    act,
)
from testing.answers import cookie_of, error_of
from testing.audit import Audit
from testing.people import PASSWORD, Caller, create_user, is_logged_in
from testing.processes import Server, StartServer


def test_the_admins_login_does_what_the_apis_does(server: Server, staff: Caller) -> None:
    browser, audit = Browser(server.url), Audit(server)
    form = {"username": "STAFF@example.com", "password": PASSWORD}

    answer = browser.post("/admin/login/?next=/admin/", data=form, headers=audit.headers)

    assert answer.status_code == 302
    assert cookie_of(answer)["httponly"]
    assert audit.event("login")["user"] == staff.user.pk  # type: ignore[union-attr]
    sessions = staff.get("/auth/sessions/").json()["sessions"]
    assert [session["ip_address"] for session in sessions] == ["127.0.0.1", None]


def test_the_admins_login_shares_the_limits_of_the_apis(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN="3/h", RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    create_user("staff", is_staff=True)
    browser = Browser(server.url)
    browser.headers["X-Forwarded-For"] = f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}::7"
    browser.post("/auth/login/", json={"username": "staff@example.com", "password": "wrong"})

    def log_in(name: str) -> httpx.Response:
        return browser.post("/admin/login/", data={"username": name, "password": PASSWORD})

    error_of(log_in("staff"), 429, "rate_limited")  # the account's
    assert "Please enter the correct username" in log_in(f"nobody-{uuid4()}").text
    error_of(log_in(f"nobody-{uuid4()}"), 429, "rate_limited")  # the address's


def test_a_form_without_its_token_is_refused(root: Browser, ann: Caller) -> None:
    root.headers["X-CSRFToken"] = "g" * 32

    answer = act(root, "deactivate", ann.user, reason="none")  # type: ignore[arg-type]

    error_of(answer, 403, "forbidden")
    assert is_logged_in(ann)


@pytest.mark.parametrize("has_page", ["true", "false"])
def test_the_admin_leads_to_the_page_if_there_is_one(
    start_server: StartServer, root: Browser, has_page: str
) -> None:
    server = start_server(CHAT_PAGE=has_page)

    page = root.get(f"{server.url}/admin/").text

    assert ('<a href="/">View site</a>' in page) == (has_page == "true")

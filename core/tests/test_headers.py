"""The headers and cookies that keep browsers and caches from doing harm."""

from uuid import UUID

import pytest

from testing.answers import cookie_of, error_of
from testing.people import PASSWORD, Caller, create_user, is_logged_in
from testing.processes import Server, StartServer

HTTPS = {"X-Forwarded-Proto": "https"}
FRONT_END = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    "path", ["/auth/status/", "/admin/login/", "/nowhere/", "/static/admin/css/base.css"]
)
def test_every_answer_has_the_security_headers(nobody: Caller, path: str) -> None:
    headers = nobody.get(path, headers=HTTPS).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com", "a b", "[::1"])
def test_another_host_name_is_refused(nobody: Caller, host: str) -> None:
    for path in ("/chat/threads/", "/auth/status/", "/admin/login/", "/nowhere/"):
        error_of(nobody.get(path, headers={"Host": host}), 400, "invalid")
    assert nobody.get("/health/live/", headers={"Host": host}).status_code == 200


def test_no_page_is_framed(nobody: Caller) -> None:
    for path in ("/auth/status/", "/admin/login/", "/nowhere/"):
        assert nobody.get(path).headers["X-Frame-Options"] == "DENY"


def test_plain_http_promises_no_https(nobody: Caller) -> None:
    assert "Strict-Transport-Security" not in nobody.get("/auth/status/").headers


def test_the_admin_runs_nothing_but_its_own(staff: Caller) -> None:
    answer = staff.get("/admin/")

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "<script>" not in answer.text  # nothing of it stands in the page itself
    assert "<style" not in answer.text


def test_no_other_site_reads_the_admin(staff: Caller) -> None:
    answer = staff.get("/admin/", headers={"Origin": "https://app.example.com"})

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_front_end_on_another_site_logs_in(start_server: StartServer) -> None:
    server = start_server(COOKIE_SAMESITE="None")
    create_user("carl")
    browser = Caller(server.url)
    browser.headers.update(FRONT_END)
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }

    preflight = browser.options("/auth/login/", headers=ask)
    login = browser.post("/auth/login/", json={"username": "carl", "password": PASSWORD})

    for answer in (preflight, login):
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "content-type" in preflight.headers["Access-Control-Allow-Headers"]
    cookie = cookie_of(login)
    assert cookie["samesite"] == "None"
    assert cookie["secure"]  # without it browsers would not take the cookie
    assert cookie["httponly"]
    browser.headers["Cookie"] = f"sessionid={cookie.value}"
    assert is_logged_in(browser)


def test_each_answer_names_its_request(server: Server, nobody: Caller) -> None:
    ids = [nobody.get("/auth/status/").headers["X-Request-ID"] for _ in range(2)]

    assert len({UUID(request_id) for request_id in ids}) == 2


def test_the_proxys_request_id_is_kept(server: Server, nobody: Caller) -> None:
    answer = nobody.get("/nowhere/", headers={"X-Request-ID": "proxy-7f3a.1"})

    assert answer.headers["X-Request-ID"] == "proxy-7f3a.1"
    assert "django.request proxy-7f3a.1: Not Found: /nowhere/" in server.log()


@pytest.mark.parametrize("name", ["a b", "a\tb", "x" * 129, "{}", '"', "é".encode()])
def test_a_request_id_that_could_forge_a_log_is_not_kept(nobody: Caller, name: str | bytes) -> None:
    value = name.encode() if isinstance(name, str) else name

    answer = nobody.get("/auth/status/", headers=[(b"X-Request-ID", value)])

    assert UUID(answer.headers["X-Request-ID"])

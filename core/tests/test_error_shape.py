"""Every answer from 400 up, from every path and every cause, is the contract's JSON."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.people import Caller, create_session, long_ago
from testing.processes import StartServer
from testing.routes import Route, routes
from testing.scripted_ollama import Script, ScriptedOllama

WITH_BODY = ("POST", "PUT", "PATCH")
JSON = {"Content-Type": "application/json"}
LISTED = "https://app.example.com"
STRANGER = {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"}


def check(answer: httpx.Response, status: int, code: str) -> None:
    """Assert that an answer is an error of the contract's shape, and that pages may read it."""
    where = f"{answer.request.method} {answer.request.url}: {answer.text}"
    assert answer.status_code == status, where
    assert answer.headers["Content-Type"] == "application/json", where
    if answer.request.headers.get("Origin") == LISTED:
        assert answer.headers["Access-Control-Allow-Origin"] == LISTED, where
    body: dict[str, Any] = answer.json()
    assert set(body) - {"fields"} == {"error", "code"}, where
    assert body["code"] == code, where
    assert body["error"].strip(), where
    for name, problems in body.get("fields", {}).items():
        assert name and problems and all(isinstance(problem, str) for problem in problems), where


def call(caller: Caller, route: Route, **arguments: Any) -> httpx.Response:
    return caller.request(route.method, route.path, **arguments)


@pytest.mark.parametrize(
    "path",
    ["/nowhere/", "/chat/", "/chat/threads", "/auth", "/chat/threads/x/", "/static/none.css"],
)
def test_an_unknown_path(ann: Caller, nobody: Caller, path: str) -> None:
    for caller in (ann, nobody):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            check(caller.request(method, path), 404, "not_found")


def test_a_wrong_method(ann: Caller) -> None:
    methods: dict[str, set[str]] = {}
    for route in routes():
        methods.setdefault(route.path, set()).add(route.method)

    for path, allowed in methods.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
            answer = ann.request(method, path)
            check(answer, 405, "method_not_allowed")
            assert set(answer.headers["Allow"].split(", ")) == allowed


def test_nobody_who_is_logged_in(nobody: Caller) -> None:
    check(nobody.get("/chat/threads/"), 401, "not_authenticated")


def test_a_token_that_is_none(nobody: Caller) -> None:
    answer = nobody.get("/chat/threads/", headers={"Authorization": "Bearer llama_x"})

    check(answer, 401, "not_authenticated")


def test_a_page_of_another_site(ann: Caller) -> None:
    for route in routes():
        if route.method != "GET":
            check(call(ann, route, headers=STRANGER), 403, "cross_origin")
    check(ann.post("/admin/login/", headers=STRANGER), 403, "cross_origin")


def test_a_body_that_is_too_large(ann: Caller) -> None:
    for route in routes():
        answer = call(ann, route, content=b" " * (1024 * 1024 + 1), headers=JSON)
        check(answer, 413, "too_large")


def test_a_body_that_is_no_json(ann: Caller) -> None:
    for route in routes():
        if route.has_body:
            check(call(ann, route, content=b"{", headers=JSON), 400, "invalid_json")


def test_a_body_of_another_kind(ann: Caller) -> None:
    answer = ann.post("/auth/login/", content=b"username=ann")

    check(answer, 415, "unsupported_media_type")


def test_a_crash(start_server: StartServer, ann: Caller, tmp_path: Path) -> None:
    """A database without tables, where every call that looks into it crashes for real."""
    server = start_server(DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")

    with Caller(server.url) as somebody:
        somebody.headers.update({"Cookie": ann.headers["Cookie"], "Origin": LISTED})
        for route in routes():
            if route.path not in ("/auth/register/", "/auth/login/", "/auth/logout/"):
                answer = call(somebody, route)
                if "password/reset" not in route.path:
                    check(answer, 500, "server_error")
                assert "no such table" not in answer.text
        check(somebody.get("/admin/", headers={"Origin": ""}), 500, "server_error")
    assert "no such table" in server.log()


def test_a_database_that_stays_locked(
    start_server: StartServer, ann: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "locked.sqlite3"
    server = start_server(DATABASE_URL=f"sqlite:///{file}?timeout=1")

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with Caller(server.url) as somebody:
            somebody.headers.update({"Cookie": ann.headers["Cookie"], "Origin": LISTED})
            check(somebody.get("/chat/threads/"), 503, "unavailable")
            assert somebody.get("/health/ready/").json()["database"] == "does not answer"
    assert "database is locked" in server.log()


def test_too_many_calls(start_server: StartServer, ann: Caller) -> None:
    names = ("CHAT", "READ", "WRITE", "LOGIN", "LOGIN_ACCOUNT", "REGISTER", "PASSWORD_RESET")
    server = start_server(**{f"RATE_LIMIT_{name}": "1/d" for name in names})
    bodies = {
        "/auth/register/": {"username": "x", "email": "x", "password": "x"},
        "/auth/login/": {"username": "x", "password": "x"},
        "/auth/password/change/": {"old_password": "x", "new_password": "x"},
        "/auth/email/change/": {"email": "x"},
        "/auth/password/reset/": {"email": "x"},
        "/auth/password/reset/confirm/": {"uid": "x", "token": "x", "new_password": "x"},
        "/auth/tokens/": {"name": "x", "days": 1},
        "/chat/threads/1/update-title/": {"title": "x"},
    }
    thread = ann.thread()

    # Without a recent login, so that the account stays.
    with Caller(server.url, ann.user, password_at=long_ago()) as ann:
        assert ann.user
        ann.headers["Origin"] = LISTED
        for route in routes():
            body = {"message": "x"} if "response/" in route.path else bodies.get(route.path)
            path = route.path.replace("/1/", f"/{thread.pk}/")
            for _ in range(2):
                answer = ann.request(
                    route.method, path, json=body if route.method in WITH_BODY else None
                )
            if route.path == "/auth/logout/":  # after which somebody else called
                ann.headers["Cookie"] = (
                    f"sessionid={create_session(ann.user, password_at=long_ago())}"
                )
                continue
            check(answer, 429, "rate_limited")
            assert int(answer.headers["Retry-After"]) > 0


def test_a_model_that_fails(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(status=500)

    for kind in ("response", "streaming-response"):
        answer = ann.post(f"/chat/{kind}/{ann.thread().pk}/", json={"message": "x"})
        check(answer, 503, "model_unavailable")


def test_debugging_shows_no_pages_of_djangos(start_server: StartServer) -> None:
    """Where errors had another shape in DEBUG, front ends would be written against that one."""
    with Caller(start_server(DEBUG="true").url) as somebody:
        check(somebody.get("/nowhere/"), 404, "not_found")

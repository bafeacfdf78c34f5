"""Every answer from 400 up, from every path and every cause, is the contract's JSON."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_chatbot.settings import RATE_LIMITS
from testing.people import Caller, long_ago
from testing.processes import Memcached, Server, StartServer
from testing.routes import Route, routes
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

WITH_BODY = ("POST", "PUT", "PATCH")
JSON = {"Content-Type": "application/json"}
BODIES = {
    "/auth/register/": {"username": "x", "email": "x", "password": "x"},
    "/auth/login/": {"username": "x", "password": "x"},
    "/auth/password/change/": {"old_password": "x", "new_password": "x"},
    "/auth/email/change/": {"email": "x"},
    "/auth/password/reset/": {"email": "x@example.com"},
    "/auth/password/reset/confirm/": {"uid": "MQ", "token": "x-x", "new_password": "x"},
    "/auth/tokens/": {"name": "x", "days": 1},
    "/chat/threads/1/update-title/": {"title": "x"},
    "/chat/threads/1/branch/": {"message_id": 1},
    "/chat/threads/1/fork/": {"message_id": 1},
    "/chat/response/new/": {"message": "x"},
    "/chat/streaming-response/new/": {"message": "x"},
    "/chat/response/1/": {"message": "x"},
    "/chat/streaming-response/1/": {"message": "x"},
}

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
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_an_unknown_path(ann: Caller, nobody: Caller, path: str, method: str) -> None:
    for caller in (ann, nobody):
        check(caller.request(method, path), 404, "not_found")


METHODS: dict[str, set[str]] = {}
for route in routes():
    METHODS.setdefault(route.path, set()).add(route.method)


@pytest.mark.parametrize("path", METHODS)
def test_a_wrong_method(ann: Caller, path: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - METHODS[path]:
        answer = ann.request(method, path)
        check(answer, 405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == METHODS[path]


def test_a_call_without_a_login(nobody: Caller) -> None:
    check(nobody.get("/chat/threads/"), 401, "not_authenticated")


def test_an_invalid_token(nobody: Caller) -> None:
    answer = nobody.get("/chat/threads/", headers={"Authorization": "Bearer llama_x"})

    check(answer, 401, "not_authenticated")


@pytest.mark.parametrize("route", [r for r in routes() if r.method != "GET"], ids=str)
def test_a_page_of_another_site(ann: Caller, route: Route) -> None:
    check(call(ann, route, headers=STRANGER), 403, "cross_origin")


def test_a_page_of_another_site_with_the_admins_login(nobody: Caller) -> None:
    check(nobody.post("/admin/login/", headers=STRANGER), 403, "cross_origin")


# It takes files of any kind, and other sizes: see chat/tests/test_import.py.
TAKES_FILES = "/chat/import/"


@pytest.mark.parametrize("route", [r for r in routes() if r.path != TAKES_FILES], ids=str)
def test_a_body_that_is_too_large(ann: Caller, route: Route) -> None:
    answer = call(ann, route, content=b" " * (1024 * 1024 + 1), headers=JSON)

    check(answer, 413, "too_large")


@pytest.mark.parametrize(
    "route", [r for r in routes() if r.has_body and r.path != TAKES_FILES], ids=str
)
def test_a_body_that_is_no_json(ann: Caller, route: Route) -> None:
    check(call(ann, route, content=b"{", headers=JSON), 400, "invalid_json")


def test_a_body_of_another_kind(ann: Caller) -> None:
    answer = ann.post("/auth/login/", content=b"username=ann")

    check(answer, 415, "unsupported_media_type")


@pytest.fixture(scope="module")
def crashing(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with a database without tables, where every call that looks into it crashes."""
    directory = tmp_path_factory.mktemp("crashing")
    settings = {"DATABASE_URL": f"sqlite:///{directory}/empty.sqlite3"}
    with Server(directory, {**server_environment, **settings}) as server:
        yield server


# The first needs no database; the second answers before it looks into it, the same to all.
NO_CRASHES = ("/auth/logout/", "/auth/password/reset/")


@pytest.mark.parametrize("route", [r for r in routes() if r.path not in NO_CRASHES], ids=str)
def test_a_crash(crashing: Server, ann: Caller, route: Route) -> None:
    with Caller(crashing.url) as somebody:
        somebody.headers.update({"Cookie": ann.headers["Cookie"], "Origin": LISTED})
        answer = call(somebody, route, json=BODIES.get(route.path))

    check(answer, 500, "server_error")
    assert "no such table" not in answer.text
    assert "no such table" in crashing.log()


def test_a_crash_after_the_answer_is_in_the_log_alone(crashing: Server) -> None:
    before = crashing.log().count("no such table")
    with Caller(crashing.url) as nobody:
        answer = nobody.post("/auth/password/reset/", json=BODIES["/auth/password/reset/"])

    assert answer.status_code == 200
    assert "no such table" not in answer.text
    wait_until(lambda: crashing.log().count("no such table") > before)


def test_a_crash_of_the_admin(crashing: Server, ann: Caller) -> None:
    with Caller(crashing.url) as somebody:
        somebody.headers["Cookie"] = ann.headers["Cookie"]

        check(somebody.get("/admin/"), 500, "server_error")


def test_a_database_that_stays_locked(
    start_server: StartServer, ann: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "locked.sqlite3"

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")  # for reads too, which else pass with WAL
        other.execute("BEGIN EXCLUSIVE")
        server = start_server(DATABASE_URL=f"sqlite:///{file}?timeout=1")
        with Caller(server.url) as somebody:
            somebody.headers.update({"Cookie": ann.headers["Cookie"], "Origin": LISTED})
            check(somebody.get("/chat/threads/"), 503, "unavailable")
            ready = somebody.get("/health/ready/")
            assert ready.status_code == 503
            assert ready.json()["database"] == "is locked by another program"
    assert "database is locked" in server.log()


@pytest.fixture(scope="module")
def limited(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server that takes one call of each kind a day."""
    settings = {"CACHE_LOCATION": memcached.location}
    settings |= {f"RATE_LIMIT_{name.upper()}": "1/d" for name in RATE_LIMITS}
    with Server(tmp_path_factory.mktemp("limited"), {**server_environment, **settings}) as server:
        yield server


@pytest.mark.parametrize("route", [r for r in routes() if r.path != "/auth/logout/"], ids=str)
def test_too_many_calls(limited: Server, ann: Caller, route: Route) -> None:
    path = route.path.replace("/1/", f"/{ann.thread().pk}/")
    body = BODIES.get(route.path) if route.method in WITH_BODY else None

    # Without a recent login, so that the account stays.
    with Caller(limited.url, ann.user, password_at=long_ago()) as ann:
        ann.headers["Origin"] = LISTED
        with ann.stream(route.method, path, json=body):  # one of them never ends
            pass
        answer = ann.request(route.method, path, json=body)

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

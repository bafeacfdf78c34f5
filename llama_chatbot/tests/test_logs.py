"""The log: what a line says, and what none of them ever does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from testing.answers import cookie_of
from testing.people import PASSWORD, Caller
from testing.processes import Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE
from testing.waiting import wait_until

NEW_PASSWORD = "an0ther-horse-staple"


@pytest.fixture
def json_server(start_server: StartServer) -> Server:
    return start_server(LOG_FORMAT="json")


def lines_of(server: Server) -> list[dict[str, Any]]:
    """Return the lines of a log, each of which must be a JSON object."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def access_of(server: Server, request_id: str) -> dict[str, Any]:
    """Return the access log's line of a request, once it is there."""

    def found() -> list[dict[str, Any]]:
        return [
            line
            for line in lines_of(server)
            if line.get("logger") == "access" and line["request_id"] == request_id
        ]

    wait_until(found)
    (line,) = found()
    return line


def test_a_line_a_request_says_who_asked_for_what_and_how_long_it_took(
    json_server: Server, ann: Caller
) -> None:
    with Caller(json_server.url, ann.user) as ann:
        thread = ann.thread()
        answer = ann.get(f"/chat/threads/{thread.pk}/", headers={"X-Request-ID": "one"})

    line = access_of(json_server, "one")
    assert ann.user
    assert answer.status_code == 200
    assert 0 <= line.pop("milliseconds") < 5000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", line.pop("time"))
    assert line.pop("message").startswith(f"GET /chat/threads/{thread.pk}/ 200, ")
    assert line == {
        "level": "INFO",
        "logger": "access",
        "request_id": "one",
        "method": "GET",
        "path": f"/chat/threads/{thread.pk}/",
        "route": "chat/threads/<int:thread_id>/",
        "status": 200,
        "user_id": ann.user.pk,
        "address": "127.0.0.1",
    }


@pytest.mark.parametrize("path", ["/auth/status/", "/chat/threads/", "/nowhere/", "/health/live/"])
def test_a_request_of_nobody_has_no_user(json_server: Server, path: str) -> None:
    with Caller(json_server.url) as nobody:
        answer = nobody.get(path, headers={"X-Request-ID": "one"})

    line = access_of(json_server, "one")
    assert (line["status"], line["user_id"]) == (answer.status_code, None)
    assert (line["route"] is None) == (path == "/nowhere/")


def test_who_uses_a_token_or_the_admin_is_named(json_server: Server, staff: Caller) -> None:
    assert staff.user
    with Caller(json_server.url, staff.user) as staff, Caller(json_server.url) as script:
        staff.get("/admin/", headers={"X-Request-ID": "admin"})
        token = staff.post("/auth/tokens/", json={"name": "script", "days": 1}).json()["token"]
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "token"}
        script.get("/chat/threads/", headers=headers)

        for name in ("admin", "token"):
            assert staff.user
            assert access_of(json_server, name)["user_id"] == staff.user.pk


def test_a_streams_line_comes_at_its_end(
    json_server: Server, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["a", "b", "c"], interval=0.1)
    with Caller(json_server.url, ann.user) as ann:
        ann.say(ann.thread(), headers={**SSE, "X-Request-ID": "one"})

    assert access_of(json_server, "one")["milliseconds"] >= 200


def test_all_lines_are_json_also_those_of_a_crash(
    start_server: StartServer, ann: Caller, tmp_path: Path
) -> None:
    server = start_server(DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3", LOG_FORMAT="json")
    with Caller(server.url) as nobody:
        headers = {"Cookie": ann.headers["Cookie"], "X-Request-ID": "one"}
        assert nobody.get("/chat/threads/", headers=headers).status_code == 500
    server.terminate()

    (crash,) = [
        line
        for line in lines_of(server)
        if line["request_id"] == "one" and line.get("exc_info") is not None
    ]
    assert "no such table" in crash["exc_info"]
    assert (crash["level"], crash["logger"]) == ("ERROR", "django.request")
    assert access_of(server, "one")["status"] == 500
    assert {"uvicorn.error", "access"} <= {line["logger"] for line in lines_of(server)}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_has_a_query_string(
    start_server: StartServer, staff: Caller, log_format: str
) -> None:
    server = start_server(LOG_FORMAT=log_format)
    with Caller(server.url, staff.user) as staff:
        for path in ("/chat/threads/", "/chat/search/", "/admin/accounts/user/", "/nowhere/"):
            staff.get(path, params={"q": "a-secret-search", "cursor": "a-secret-search"})
            wait_until(lambda path=path: f"GET {path} " in server.log())  # type: ignore[misc]

    assert "a-secret-search" not in server.log()


@pytest.mark.parametrize("option", [["--no-access-log"], ["--log-level", "warning"]])
def test_uvicorns_options_silence_the_access_log(
    server_environment: dict[str, str], tmp_path: Path, option: list[str]
) -> None:
    with Server(tmp_path, server_environment, uvicorn_args=option) as server:
        with Caller(server.url) as nobody:
            nobody.get("/auth/status/")
            nobody.get("/nowhere/")
        wait_until(lambda: "Not Found: /nowhere/" in server.log())

        assert " access " not in server.log()


@pytest.fixture
def talkative(start_server: StartServer) -> Server:
    """A server that logs as much as it can."""
    return start_server(DEBUG="true", LOG_LEVEL="DEBUG")


def secrets_of(user: User) -> Iterator[str]:
    yield PASSWORD
    yield NEW_PASSWORD
    yield user.password
    yield from user.session_set.values_list("session_key", flat=True)


def test_debugging_logs_no_password_key_hash_or_message(
    talkative: Server, ollama: ScriptedOllama, database: None
) -> None:
    ollama.script = Script(["a secret", " answer"])
    with Caller(talkative.url) as ann:
        account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        assert ann.post("/auth/register/", json=account).status_code == 201
        user = User.objects.get(username="ann")
        login = ann.post("/auth/login/", json={"username": "ann", "password": PASSWORD})
        ann.headers["Cookie"] = f"sessionid={cookie_of(login).value}"
        secrets = set(secrets_of(user))
        change = {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
        changed = ann.post("/auth/password/change/", json=change)
        ann.headers["Cookie"] = f"sessionid={cookie_of(changed).value}"
        made = ann.post("/auth/tokens/", json={"name": "script", "days": 1}).json()
        thread = ann.post("/chat/threads/new/", json={"title": "a secret title"}).json()
        for form in ({}, SSE):
            answer = ann.post(
                f"/chat/streaming-response/{thread['thread_id']}/",
                json={"message": "a secret question"},
                headers={"Idempotency-Key": "a-secret-key", **form},
            )
            assert "answer" in answer.text
        script = {"Authorization": f"Bearer {made['token']}", "Cookie": ""}
        assert ann.get("/chat/threads/", headers=script).status_code == 200
        user.refresh_from_db()
        secrets |= {*secrets_of(user), made["token"], user.tokens.get().digest}

    log = talkative.log()
    assert "POST /chat/streaming-response/" in log
    secrets |= {"a secret", "a-secret-key", "a secret title"}
    assert [secret for secret in secrets if secret in log] == []

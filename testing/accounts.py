"""What the tests of accounts share: errors, cookies, mail, the audit log, things at once."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import BaseCookie, Morsel, SimpleCookie
from threading import Barrier
from typing import Any
from uuid import uuid4

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from django.db import transaction

from accounts.models import Token
from testing.people import Caller
from testing.processes import Server, free_port, wait_until


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the body of an error that has this status and this code."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["error"]
    return body


def cookie_of(answer: httpx.Response, name: str = "sessionid") -> "Morsel[str]":
    """Return a cookie that an answer sets, the session's."""
    cookies: BaseCookie[str] = SimpleCookie()
    for header in answer.headers.get_list("Set-Cookie"):
        cookies.load(header)
    return cookies[name]


def log_in(url: str, name: str, password: str) -> Caller:
    """Log in by the API; return somebody who calls it with the cookie."""
    caller = Caller(url)
    answer = caller.post("/auth/login/", json={"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    caller.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    return caller


def token_of(caller: Caller) -> str:
    """Create a token of somebody's without the API; return its secret."""
    assert caller.user
    return Token.objects.issue(caller.user, "my script", 1)[1]


def is_logged_in(caller: Caller) -> bool:
    """Tell whether the API knows who is calling."""
    return bool(caller.get("/auth/status/").json()["authenticated"])


def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Make calls at the same moment; return the answers, the lowest status first."""
    barrier = Barrier(len(calls))

    def call(it: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return it()

    with ThreadPoolExecutor(len(calls)) as threads:
        return sorted(threads.map(call, calls), key=lambda answer: answer.status_code)


def meanwhile(call: Callable[[], httpx.Response], happens: Callable[[], object]) -> httpx.Response:
    """Make a call that reads before something else happens, and writes after it."""
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():  # nobody sees what it does, or writes the same, before its end
            happens()
            answer = thread.submit(call)
            time.sleep(1)
        return answer.result()


class Mailbox(MessageHandler):
    """A real SMTP server, that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []
        port = free_port()
        self.url = f"smtp://127.0.0.1:{port}"
        self.controller = Controller(self, hostname="127.0.0.1", port=port)

    def handle_message(self, message: Any) -> None:
        """Keep a mail."""
        self.mails.append(message)


class Audit:
    """The audit log's lines about one request, which is sent with `headers`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.request_id = uuid4().hex
        self.headers = {"X-Request-ID": self.request_id}

    def lines(self) -> list[dict[str, Any]]:
        """Return what has been logged so far."""
        lines = [json.loads(line) for line in self.server.log().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["request_id"] == self.request_id]

    def events(self) -> list[str]:
        """Return the names of the events so far."""
        return [line["event"] for line in self.lines()]

    def event(self, name: str) -> dict[str, Any]:
        """Return the one line of an event, when it is there."""
        wait_until(lambda: name in self.events(), 5, lambda: f"{name} is not in {self.events()}")
        (line,) = (line for line in self.lines() if line["event"] == name)
        return line


class Browser(Caller):
    """Somebody of the staff who uses the admin, with Django's protection of forms."""

    TOKEN = "f" * 32

    def __init__(self, *args: Any, **session: Any) -> None:
        super().__init__(*args, **session)
        cookie = f"{self.headers.get('Cookie', '')}; csrftoken={self.TOKEN}"
        self.headers.update({"Cookie": cookie, "X-CSRFToken": self.TOKEN})

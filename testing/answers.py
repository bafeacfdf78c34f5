"""What an answer of the API says: its error, its cookies."""

from http.cookies import BaseCookie, Morsel, SimpleCookie
from typing import Any

import httpx


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


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return an error's status and code."""
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.json()["code"]

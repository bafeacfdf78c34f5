"""CORS: which pages of other origins may read the answers, errors included.

Crashes and limits are in test_error_shape.py, with servers of their own.
"""

import httpx
import pytest

from testing.people import Caller
from testing.streams import SSE

LISTED = "https://app.example.com"
HEADERS = {"Origin": LISTED}


def allows(answer: httpx.Response) -> bool:
    """Return whether a browser would let the page of the listed origin read this."""
    return (
        answer.headers.get("Access-Control-Allow-Origin") == LISTED
        and answer.headers.get("Access-Control-Allow-Credentials") == "true"
        and "origin" in answer.headers.get("Vary", "").lower()
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_allows_what_the_api_takes(nobody: Caller, method: str) -> None:
    asked = {
        **HEADERS,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type, idempotency-key, authorization",
    }

    answer = nobody.options("/chat/threads/", headers=asked)

    assert answer.status_code == 200
    assert allows(answer)
    assert method in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"]
    for header in ("content-type", "idempotency-key", "authorization", "last-event-id"):
        assert header in allowed


def test_the_page_may_read_answers_and_their_headers(ann: Caller) -> None:
    answer = ann.get("/chat/threads/", headers=HEADERS)

    assert answer.status_code == 200
    assert allows(answer)
    exposed = answer.headers["Access-Control-Expose-Headers"]
    for header in ("RateLimit-Remaining", "Reply-Id", "Retry-After"):
        assert header in exposed


def test_the_page_may_read_streams(ann: Caller) -> None:
    for accept in ({}, SSE):
        assert allows(ann.say(ann.thread(), headers={**HEADERS, **accept}))


def test_the_page_may_read_errors_too(ann: Caller, nobody: Caller) -> None:
    too_large = b" " * (1024 * 1024 + 1)
    json = {**HEADERS, "Content-Type": "application/json"}
    answers = {
        401: nobody.get("/chat/threads/", headers=HEADERS),
        404: ann.get("/nowhere/", headers=HEADERS),
        405: ann.put("/chat/threads/", headers=HEADERS),
        413: ann.post("/chat/threads/new/", headers=json, content=too_large),
        415: ann.post("/chat/threads/new/", headers=HEADERS, content=b"{}"),
        400: ann.post("/chat/threads/new/", headers=json, content=b"{"),
    }

    for status, answer in answers.items():
        assert answer.status_code == status
        assert allows(answer), status


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.com",
        "https://notapp.example.com",
        "null",
    ],
)
def test_a_page_of_an_origin_not_listed_reads_nothing(ann: Caller, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answers = [
        ann.get("/chat/threads/", headers={"Origin": origin}),
        ann.get("/nowhere/", headers={"Origin": origin}),
        ann.options("/chat/threads/new/", headers=asked),
    ]

    for answer in answers:
        assert "Access-Control-Allow-Origin" not in answer.headers

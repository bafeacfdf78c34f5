"""Who may call what: every route of the API, as somebody else and as nobody.

A new route fails here until it is in the table.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from accounts.models import Session, Token, User
from chat.models import Message, Sender, Thread
from llama_chatbot.api import api
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Server

SECRET = "what only Ann may read"
MESSAGE_ID = "{int:message_id}"  # in a body or a path
UNLISTED = {
    "openapi.json",
    "docs/",
    "",
}  # what Ninja adds: the description of the API, and its root


class Rule(NamedTuple):
    """The statuses that a call gets from somebody else and from nobody, with this body."""

    other: int
    nobody: int = 401
    body: dict[str, Any] | None = None


RULES = {
    "POST /auth/register/": Rule(400, 400, {"username": "ann", "email": "ann@example.com"}),
    "POST /auth/login/": Rule(400, 400, {"username": "ann", "password": "wrong"}),
    "POST /auth/logout/": Rule(200, 200),
    "GET /auth/status/": Rule(200, 200),
    "DELETE /auth/delete/": Rule(200),
    "POST /auth/deactivate/{username}/": Rule(403),
    "DELETE /auth/deactivate/{username}/": Rule(403),
    "POST /auth/password/change/": Rule(
        200, body={"old_password": PASSWORD, "new_password": "an0ther-horse"}
    ),
    "POST /auth/email/change/": Rule(400, body={"email": "ANN@example.com"}),
    "POST /auth/password/reset/": Rule(200, 200, {"email": "ann@example.com"}),
    "POST /auth/password/reset/confirm/": Rule(
        400, 400, {"uid": "MQ", "token": "x", "new_password": "an0ther-horse"}
    ),
    "GET /auth/sessions/": Rule(200),
    "DELETE /auth/sessions/": Rule(200),
    "DELETE /auth/sessions/{int:session_id}/": Rule(404),
    "GET /auth/tokens/": Rule(200),
    "POST /auth/tokens/": Rule(201, body={"name": "x", "days": 1}),
    "DELETE /auth/tokens/{int:token_id}/": Rule(404),
    "GET /auth/usage/": Rule(200),
    "GET /auth/export/": Rule(200),
    "GET /chat/threads/{int:thread_id}/export/": Rule(404),
    "POST /chat/import/": Rule(200, body={"nothing": "to import"}),
    "GET /chat/search/": Rule(400),  # test_search.py has what is found
    "GET /chat/events/": Rule(200),  # test_events.py has who hears what
    "POST /chat/threads/new/": Rule(201),
    "GET /chat/threads/": Rule(200),
    "DELETE /chat/threads/delete/": Rule(200),
    "GET /chat/threads/{int:thread_id}/": Rule(404),
    "PATCH /chat/threads/{int:thread_id}/": Rule(404, body={"title": "x"}),
    "PUT /chat/threads/{int:thread_id}/update-title/": Rule(404, body={"title": "x"}),
    "PATCH /chat/threads/{int:thread_id}/update-title/": Rule(404, body={"title": "x"}),
    "DELETE /chat/threads/{int:thread_id}/delete/": Rule(404),
    "GET /chat/threads/{int:thread_id}/messages/": Rule(404),
    "DELETE /chat/threads/{int:thread_id}/messages/{int:message_id}/": Rule(404),
    "PUT /chat/threads/{int:thread_id}/messages/{int:message_id}/feedback/": Rule(
        404, body={"rating": 1}
    ),
    "PUT /chat/threads/{int:thread_id}/branch/": Rule(404, body={"message_id": MESSAGE_ID}),
    "POST /chat/threads/{int:thread_id}/fork/": Rule(404, body={"message_id": MESSAGE_ID}),
    "POST /chat/threads/{int:thread_id}/regenerate/": Rule(404, body={"message_id": MESSAGE_ID}),
    "POST /chat/response/new/": Rule(200, body={"message": "x"}),
    "POST /chat/streaming-response/new/": Rule(200, body={"message": "x"}),
    "POST /chat/response/{int:thread_id}/": Rule(404, body={"message": "x"}),
    "POST /chat/streaming-response/{int:thread_id}/": Rule(404, body={"message": "x"}),
    "GET /chat/streaming-response/{int:thread_id}/": Rule(404),
    "POST /chat/threads/{int:thread_id}/continue/": Rule(404),
    "POST /chat/threads/{int:thread_id}/stop/": Rule(404),
    "GET /chat/models/": Rule(200),
    "GET /health/live/": Rule(200, 200),
    "HEAD /health/live/": Rule(200, 200),
    "GET /health/ready/": Rule(200, 200),
    "HEAD /health/ready/": Rule(200, 200),
}


def routes() -> Iterator[str]:
    """Yield every call that the API takes, as `METHOD /path/`."""
    for prefix, router in api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                for method in operation.methods:
                    yield f"{method} {prefix.rstrip('/')}/{path.lstrip('/')}"


@pytest.fixture
def paths(ann: Caller) -> dict[str, Any]:
    """The ids of what is Ann's: a thread with two messages, one of them, a session and a token."""
    assert ann.user
    thread = ann.thread(title=SECRET)
    for sender in Sender:
        message = Message.objects.create(thread=thread, sender=sender, content=SECRET)
    token, _ = Token.objects.issue(ann.user, SECRET, 1)
    return {
        "{int:thread_id}": thread.pk,
        MESSAGE_ID: message.pk,
        "{int:session_id}": Session.objects.get().public_id,
        "{int:token_id}": token.pk,
        "{username}": "ann",
    }


def state() -> list[Any]:
    """Return all that is Ann's, as it is stored."""
    ann = User.objects.filter(username="ann")
    return [
        list(rows.order_by("pk").values())
        for rows in (
            ann,
            Thread.objects.filter(user__in=ann),
            Message.objects.filter(thread__user__in=ann),
            Token.objects.filter(user__in=ann),
            Session.objects.filter(user__in=ann),
        )
    ]


def test_every_route_is_in_the_table() -> None:
    assert sorted(routes()) == sorted(RULES)
    described = {route.split()[1] for route in RULES}
    patterns = {str(pattern.pattern) for pattern in api.urls[0]} - UNLISTED
    assert len(patterns) == len(described)


# Of the calls outside /chat/, a token opens these.
OPEN_TO_TOKENS = ("/auth/status/", "/auth/usage/", "/health/")
ENDLESS = {"GET /chat/events/"}


def expected(route: str, who: str) -> int:
    """Return the status that a caller of this kind gets."""
    rule, path = RULES[route], route.split()[1]
    if who == "nobody" or rule.nobody != 401:
        return rule.nobody
    if who == "a token" and not path.startswith(("/chat/", *OPEN_TO_TOKENS)):
        return 403
    if who == "the staff" and "deactivate" in path:
        return 200
    return rule.other


def caller_of_kind(server: Server, who: str) -> Caller:
    """Return somebody who is not Ann."""
    if who == "nobody":
        return Caller(server.url)
    user = create_user("other", is_staff=who == "the staff")
    if who != "a token":
        return Caller(server.url, user)
    script = Caller(server.url)
    script.headers["Authorization"] = f"Bearer {Token.objects.issue(user, 'my script', 1)[1]}"
    return script


def text_of(route: str, answer: httpx.Response) -> str:
    """Return an answer's text; of a stream that does not end, what comes first."""
    if route in ENDLESS and answer.status_code == 200:
        return next(answer.iter_text())
    answer.read()
    return answer.text


@pytest.mark.parametrize("who", ["somebody else", "the staff", "a token", "nobody"])
@pytest.mark.parametrize("route", RULES)
def test_nobody_else_gets_at_what_is_anns(
    server: Server, paths: dict[str, Any], route: str, who: str
) -> None:
    before = state()
    assert all(before)
    method, path = route.split()
    for name, value in paths.items():
        path = path.replace(name, str(value))

    body = {name: paths.get(value, value) for name, value in (RULES[route].body or {}).items()}

    with (
        caller_of_kind(server, who) as caller,
        caller.stream(method, path, json=body or None) as answer,
    ):
        text = text_of(route, answer)

    assert answer.status_code == expected(route, who), text
    assert SECRET not in text
    if not (who == "the staff" and "deactivate" in path):
        assert state() == before

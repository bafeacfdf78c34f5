"""Who may make the calls for branches, from where, and by which limit they are counted."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from testing.answers import error_of
from testing.people import Caller, token_of
from testing.processes import Server

MESSAGE = object()  # its id, in a body


class Call(NamedTuple):
    """A call for the second message of a thread, and what it is answered where it is allowed."""

    method: str
    path: str
    limit: str
    status: int = 200
    body: dict[str, Any] | None = None


CALLS = [
    Call("GET", "/chat/threads/{thread}/messages/?leaf={message}", "read"),
    Call("DELETE", "/chat/threads/{thread}/messages/{message}/", "write"),
    Call("PUT", "/chat/threads/{thread}/branch/", "write", body={"message_id": MESSAGE}),
    Call("POST", "/chat/threads/{thread}/fork/", "write", 201, {"message_id": MESSAGE}),
    Call("POST", "/chat/threads/{thread}/regenerate/", "chat", body={"message_id": MESSAGE}),
    Call("POST", "/chat/threads/{thread}/continue/", "chat", 409),  # its reply is complete
    Call("POST", "/chat/response/new/", "chat", body={"message": "Hello"}),
    Call("POST", "/chat/streaming-response/new/", "chat", body={"message": "Hello"}),
]
every_call = pytest.mark.parametrize("call", CALLS, ids=[f"{c.method} {c.path}" for c in CALLS])

RATES = {"chat": 1001, "read": 1002, "write": 1003}


@pytest.fixture(scope="module")
def counting_server(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server each of whose limits is known by its number."""
    rates = {f"RATE_LIMIT_{name.upper()}": f"{rate}/d" for name, rate in RATES.items()}
    with Server(tmp_path_factory.mktemp("counting"), server_environment | rates) as server:
        yield server


def make(call: Call, caller: Caller, owner: Caller, **arguments: Any) -> httpx.Response:
    """Make a call for a thread of the owner's that has one turn."""
    thread = owner.thread()
    owner.say(thread)
    message = thread.messages.latest("pk").pk
    path = call.path.format(thread=thread.pk, message=message)
    body = {
        name: message if value is MESSAGE else value for name, value in (call.body or {}).items()
    }
    return caller.request(call.method, path, json=body or None, **arguments)


@every_call
def test_a_token_stands_for_a_session(ann: Caller, call: Call) -> None:
    with Caller(str(ann.base_url)) as script:
        script.headers["Authorization"] = f"Bearer {token_of(ann)}"

        assert make(call, script, ann).status_code == call.status


@every_call
def test_a_page_of_another_origin_changes_nothing(ann: Caller, call: Call) -> None:
    headers = {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site"}

    answer = make(call, ann, ann, headers=headers)

    if call.method == "GET":  # which browsers let nobody read without CORS
        assert "Access-Control-Allow-Origin" not in answer.headers
    else:
        error_of(answer, 403, "cross_origin")


@every_call
def test_the_front_ends_origin_may_make_each_call(ann: Caller, call: Call) -> None:
    answer = make(call, ann, ann, headers={"Origin": "https://app.example.com"})

    assert answer.status_code == call.status
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


@every_call
def test_each_call_is_counted_by_its_limit(
    counting_server: Server, ann: Caller, call: Call
) -> None:
    with Caller(counting_server.url, ann.user) as caller:
        answer = make(call, caller, ann)

    assert answer.status_code == call.status
    assert answer.headers["RateLimit-Limit"] == str(RATES[call.limit])

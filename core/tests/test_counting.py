"""What is counted by the rate limits: every call, before its body is parsed."""

import json
import time
from collections.abc import Iterator
from random import SystemRandom
from typing import Any

import httpx
import pytest

from testing.answers import error_of
from testing.people import Caller, create_user, token_of
from testing.processes import Memcached, Server
from testing.routes import Route, every_route
from testing.waiting import wait_until

randrange = SystemRandom().randrange  # the other is seeded, the same for each run

JSON = {"Content-Type": "application/json"}

MALFORMED: dict[str, dict[str, Any]] = {
    "half a body": {"content": b'{"username": "ann"', "headers": JSON},
    "another type": {"content": b"username=ann", "headers": {"Content-Type": "text/plain"}},
    "a missing field": {"json": {}},
    "an unknown field": {"json": {"username": "a", "password": "b", "more": 1}},
    "no object": {"json": ["x"]},
}
LIMITS = (
    "LOGIN",
    "REGISTER",
    "PASSWORD_RESET",
    "READ",
    "WRITE",
    "CHAT",
    "EXPORT",
    "IMPORT",
)


@pytest.fixture(scope="module")
def strict_server(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server that allows two calls of each kind."""
    rates = {f"RATE_LIMIT_{limit}": "2/d" for limit in LIMITS}
    environment = {**server_environment, **rates, "CACHE_LOCATION": memcached.location}
    with Server(tmp_path_factory.mktemp("strict"), environment) as server:
        yield server


@pytest.fixture
def strict(strict_server: Server, database: None) -> Server:
    return strict_server


def new_address() -> dict[str, str]:
    """Return the header of an address that no test has called from."""
    return {"X-Forwarded-For": f"2001:db8:{randrange(2**16):x}:{randrange(2**16):x}::7"}


def statuses(caller: Caller, method: str, path: str, **call: Any) -> list[int]:
    seen = []
    for _ in range(3):
        with caller.stream(method, path, **call) as answer:  # one of them never ends
            seen.append(answer.status_code)
    return seen


@every_route
def test_every_call_is_counted_before_its_body_is_parsed(strict: Server, route: Route) -> None:
    ann = Caller(strict.url, create_user("ann"))
    ann.headers.update(new_address())
    body = {} if route.method == "GET" else {"content": b"{", "headers": JSON}

    assert statuses(ann, route.method, route.path, **body)[2] == 429


@pytest.mark.parametrize("path", ["models", "models/tiny", "chat/completions", "responses"])
def test_every_call_of_openais_protocol_is_counted(strict: Server, path: str) -> None:
    script = Caller(strict.url)
    script.headers["Authorization"] = f"Bearer {token_of(Caller(strict.url, create_user('ann')))}"
    is_read = path.startswith("models")
    call = {} if is_read else {"content": b"{", "headers": JSON}

    assert statuses(script, "GET" if is_read else "POST", f"/v1/{path}", **call)[2] == 429


@pytest.mark.parametrize("call", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("path", ["/auth/login/", "/auth/register/", "/auth/password/reset/"])
def test_a_malformed_body_is_counted_for_the_address(
    strict: Server, path: str, call: dict[str, Any]
) -> None:
    nobody = Caller(strict.url)
    nobody.headers.update(new_address())

    assert statuses(nobody, "POST", path, **call)[2] == 429


@pytest.mark.parametrize("call", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("path", ["/auth/tokens/", "/chat/response/1/"])
def test_a_malformed_body_is_counted_for_the_user(
    strict: Server, path: str, call: dict[str, Any]
) -> None:
    ann = Caller(strict.url, create_user("ann"))

    first, second, third = statuses(ann, "POST", path, **call)

    assert first in (400, 415)
    assert (second, third) == (first, 429)


def test_a_malformed_send_with_a_key_is_counted_too(strict: Server) -> None:
    ann = Caller(strict.url, create_user("ann"))
    headers = {"Idempotency-Key": "once", **JSON}

    def is_refused() -> bool:
        answer = ann.post("/chat/response/1/", content=b"{", headers=headers)
        assert answer.status_code in (400, 429)
        return answer.status_code == 429

    assert not is_refused()
    wait_until(is_refused)


def test_wrong_tokens_are_counted_for_the_address(strict: Server) -> None:
    ann = Caller(strict.url, create_user("ann"))
    script = Caller(strict.url)
    script.headers["Authorization"] = f"Bearer {token_of(ann)}"
    address = new_address()
    for caller in (ann, script):
        caller.headers.update(address)

    def try_wrong_token(number: int) -> httpx.Response:
        wrong = {"Authorization": f"Bearer llama_{number:08x}_wrong"}
        return Caller(strict.url).get("/chat/threads/", headers=address | wrong)

    answers = [try_wrong_token(number) for number in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[2].headers["Retry-After"]
    assert script.get("/chat/threads/").status_code == 200  # the others there go on
    login = ann.post("/auth/login/", json={"username": "ann", "password": "wrong"})
    error_of(login, 400, "invalid")


# --- What a refused body costs ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/auth/login/", "/chat/threads/new/", "/auth/logout/"])
def test_a_hundred_thousand_unknown_fields_are_refused_after_twenty(ann: Caller, path: str) -> None:
    body = json.dumps({f"field{number}": 1 for number in range(60_000)})

    began = time.monotonic()
    answer = ann.post(path, content=body, headers=JSON)
    took = time.monotonic() - began

    assert len(error_of(answer, 400, "invalid")["fields"]) == 20
    assert len(answer.content) < 2_000
    assert took < 0.5  # on a busy machine; pydantic alone would take a second


def test_many_wrong_parts_of_a_conversation_are_refused_at_the_first(ann: Caller) -> None:
    body = {"model": "tiny", "messages": [{}] * 100_000}
    headers = {"Authorization": f"Bearer {token_of(ann)}"}

    answer = Caller(str(ann.base_url)).post("/v1/chat/completions", json=body, headers=headers)

    assert answer.status_code == 400
    assert len(answer.content) < 1_000


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/auth/tokens/", {"days": 1}, "name: Field required"),
        ("/auth/tokens/", {"name": "x", "days": 0}, "days: Input should be greater than or"),
        ("/auth/email/change/", {"email": "x"}, "email: Enter a valid email address."),
        ("/chat/threads/new/", {"options": {"top_p": 2}}, "options.top_p: Input should be less"),
        ("/chat/threads/new/", [], "body: This must be a JSON object."),
    ],
)
def test_the_error_is_about_the_first_field_and_names_it(
    ann: Caller, path: str, body: Any, sentence: str
) -> None:
    error = error_of(ann.post(path, json=body), 400, "invalid")

    assert error["error"].startswith(sentence)
    (name, problems), *_ = error["fields"].items()
    assert error["error"] == f"{name}: {problems[0]}"

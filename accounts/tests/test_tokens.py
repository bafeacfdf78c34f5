"""/auth/tokens/: keys for scripts, and what they open."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Token, User
from chat.models import Thread
from testing.answers import error_of
from testing.people import PASSWORD, Caller, long_ago
from testing.races import at_once


def create(caller: Caller, **fields: Any) -> Any:
    return caller.post("/auth/tokens/", json={"name": "my script", "days": 30, **fields})


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def script(ann: Caller) -> Caller:
    """A script of Ann's, with a token and no session."""
    script = Caller(str(ann.base_url))
    script.headers.update(bearer(create(ann).json()["token"]))
    return script


def test_a_token_is_shown_once_and_stored_nowhere(ann: Caller) -> None:
    answer = create(ann)

    assert answer.status_code == 201
    created = answer.json()
    assert created.keys() == {"token", "id", "name", "prefix", "expires_at"}
    assert created["token"].startswith(f"llama_{created['prefix']}_")
    left = datetime.fromisoformat(created["expires_at"]) - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    assert created["token"] not in str(Token.objects.values().get())
    assert created["token"] not in ann.get("/auth/tokens/").text


def test_a_token_is_listed_with_its_last_use(ann: Caller, bob: Caller) -> None:
    created = create(ann).json()
    (unused,) = ann.get("/auth/tokens/").json()["tokens"]
    bob.get("/chat/threads/", headers=bearer(created["token"]))

    (used,) = ann.get("/auth/tokens/").json()["tokens"]

    names = {"id", "name", "prefix", "created_at", "last_used_at", "expires_at"}
    assert used.keys() == names
    assert used["name"] == "my script"
    assert unused["last_used_at"] is None
    assert timezone.now() - datetime.fromisoformat(used["last_used_at"]) < timedelta(seconds=30)
    assert bob.get("/auth/tokens/").json() == {"tokens": []}


def test_a_token_opens_every_chat_call_the_status_and_the_usage(
    script: Caller, ann: Caller
) -> None:
    thread = script.post("/chat/threads/new/", json={}).json()["thread_id"]
    reads = ["threads/", f"threads/{thread}/", f"threads/{thread}/messages/", "models/"]

    said = script.post(f"/chat/streaming-response/{thread}/", json={"message": "Hello"})
    answers = [script.get(f"/chat/{path}") for path in reads]
    titled = script.patch(f"/chat/threads/{thread}/update-title/", json={"title": "x"})
    stopped = script.post(f"/chat/threads/{thread}/stop/")
    usage, status = script.get("/auth/usage/"), script.get("/auth/status/")
    deleted = script.delete(f"/chat/threads/{thread}/delete/")

    assert said.text == "You said: Hello"
    for answer in (*answers, titled, stopped, usage, deleted):
        assert answer.status_code == 200, answer.text
    assert status.json()["user"]["username"] == "ann"
    assert not Thread.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/auth/delete/"),
        ("POST", "/auth/deactivate/ann/"),
        ("POST", "/auth/password/change/"),
        ("POST", "/auth/email/change/"),
        ("GET", "/auth/sessions/"),
        ("DELETE", "/auth/sessions/"),
        ("DELETE", "/auth/sessions/1/"),
        ("POST", "/auth/tokens/"),
        ("GET", "/auth/tokens/"),
        ("DELETE", "/auth/tokens/1/"),
    ],
)
def test_a_token_cannot_change_an_account(script: Caller, method: str, path: str) -> None:
    body = error_of(script.request(method, path), 403, "forbidden")

    assert body["error"] == "A token cannot do this: log in with your password."
    assert User.objects.filter(username="ann", is_active=True).exists()


def test_a_token_takes_precedence_over_a_session(script: Caller, bob: Caller) -> None:
    bob.headers.update({"Authorization": script.headers["Authorization"]})

    assert bob.get("/auth/status/").json()["user"]["username"] == "ann"


def test_a_token_may_come_from_any_listed_origin(script: Caller) -> None:
    answer = script.get("/chat/threads/", headers={"Origin": "https://app.example.com"})

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


@pytest.mark.parametrize("end", ["expired", "revoked", "deactivated", "deleted"])
def test_a_token_that_has_ended_opens_nothing(script: Caller, ann: Caller, end: str) -> None:
    token = Token.objects.get()
    if end == "expired":
        Token.objects.update(expires_at=timezone.now())
    elif end == "revoked":
        assert ann.delete(f"/auth/tokens/{token.pk}/").status_code == 200
        assert ann.get("/auth/tokens/").json() == {"tokens": []}
    elif end == "deactivated":
        User.objects.update(is_active=False)
    else:
        ann.delete("/auth/delete/")

    error_of(script.get("/chat/threads/"), 401, "not_authenticated")


def test_a_token_that_was_tampered_with_opens_nothing(script: Caller, ann: Caller) -> None:
    scheme, secret = script.headers["Authorization"].split()
    last = "A" if secret[-1] != "A" else "B"
    tampered = [secret[:-1] + last, secret[:-1], secret + "A", secret.upper(), "llama", "é", "_"]

    for text in tampered:
        header = f"{scheme} {text}".encode()
        answer = script.get("/chat/threads/", headers=[(b"Authorization", header)])
        error_of(answer, 401, "not_authenticated")
    script.headers["Authorization"] = f"bearer {secret}"  # the scheme's case does not matter
    assert script.get("/chat/threads/").status_code == 200


def test_a_new_token_requires_the_password_ten_minutes_after_the_login(ann: Caller) -> None:
    old = Caller(str(ann.base_url), ann.user, password_at=long_ago())

    without, wrong = create(old), create(old, password="wrong")
    with_it = create(old, password=PASSWORD)
    soon_after = create(old)

    assert error_of(without, 400, "invalid")["fields"].keys() == {"password"}
    assert error_of(wrong, 400, "invalid")["fields"].keys() == {"password"}
    assert with_it.status_code == 201
    assert soon_after.status_code == 201  # the password counts as a login


def test_nobody_has_more_than_fifty_tokens(ann: Caller) -> None:
    assert ann.user
    for number in range(Token.MAX_PER_USER - 1):
        Token.objects.issue(ann.user, f"{number}", 1)

    last, too_many = create(ann), create(ann)

    assert last.status_code == 201
    error_of(too_many, 400, "invalid")


def test_only_its_owner_can_revoke_a_token(ann: Caller, bob: Caller, script: Caller) -> None:
    token = Token.objects.get()

    error_of(bob.delete(f"/auth/tokens/{token.pk}/"), 404, "not_found")
    for number in ("0", str(token.pk + 1), "9" * 30):
        error_of(ann.delete(f"/auth/tokens/{number}/"), 404, "not_found")

    assert script.get("/chat/threads/").status_code == 200


def test_a_token_can_be_revoked_twice_at_once(ann: Caller) -> None:
    path = f"/auth/tokens/{create(ann).json()['id']}/"

    one, other = at_once(lambda: ann.delete(path), lambda: ann.delete(path))

    assert one.status_code == 200
    assert other.status_code in (200, 404)
    assert not Token.objects.exists()

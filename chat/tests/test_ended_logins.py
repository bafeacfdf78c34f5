"""Streams of a session or a token that ends in the meantime."""

import httpx
import pytest

from accounts.models import Session, Token
from testing.people import PASSWORD, Caller, token_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of


@pytest.fixture
def held(ollama: ScriptedOllama) -> ScriptedOllama:
    """An Ollama that says one word, and the next when it is released."""
    ollama.script = Script(["One ", "two"], hold_after=1)
    return ollama


def end_of(caller: Caller, held: ScriptedOllama, end_login: object) -> tuple[str, dict[str, str]]:
    """Return the last event of a stream whose login ends while the model is silent."""
    thread = caller.thread()
    url, body = f"/chat/streaming-response/{thread.pk}/", {"message": "Hello"}
    with caller.stream("POST", url, json=body, headers=SSE) as response:
        held.wait_for_open(1)
        end_login()  # type: ignore[operator]
        end = events_of(response.read().decode())[-1]
    return end.type, end.data


def test_the_stream_of_a_session_ends_with_it(ann: Caller, held: ScriptedOllama) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)

    kind, data = end_of(elsewhere, held, lambda: ann.delete("/auth/sessions/"))

    assert (kind, data["code"]) == ("error", "not_authenticated")


def test_the_stream_of_a_session_ends_with_a_password_change(
    ann: Caller, held: ScriptedOllama
) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)
    body = {"old_password": PASSWORD, "new_password": "an0ther-horse-battery"}

    kind, data = end_of(elsewhere, held, lambda: ann.post("/auth/password/change/", json=body))

    assert (kind, data["code"]) == ("error", "not_authenticated")


def test_the_stream_of_a_token_ends_with_it(ann: Caller, held: ScriptedOllama) -> None:
    script = Caller(str(ann.base_url))
    script.headers["Authorization"] = f"Bearer {token_of(ann)}"
    script.user = ann.user

    kind, data = end_of(script, held, lambda: Token.objects.get().revoke())

    assert (kind, data["code"]) == ("error", "not_authenticated")


def test_plain_text_is_cut_off(ann: Caller, held: ScriptedOllama) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)
    url, body = f"/chat/streaming-response/{ann.thread().pk}/", {"message": "Hello"}

    with elsewhere.stream("POST", url, json=body) as response:
        held.wait_for_open(1)
        ann.delete("/auth/sessions/")
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


def test_the_streams_of_other_sessions_go_on(ann: Caller, held: ScriptedOllama) -> None:
    elsewhere = Caller(str(ann.base_url), ann.user)
    thread = ann.thread()
    url, body = f"/chat/streaming-response/{thread.pk}/", {"message": "Hello"}

    with ann.stream("POST", url, json=body, headers=SSE) as mine:
        held.wait_for_open(1)
        with elsewhere.stream("GET", url, headers=SSE) as theirs:
            ann.delete("/auth/sessions/")
            ended = events_of(theirs.read().decode())[-1]
        held.release()
        finished = events_of(mine.read().decode())[-1]

    assert (ended.type, ended.data["code"]) == ("error", "not_authenticated")
    assert (finished.type, finished.data["status"]) == ("end", "complete")


def test_a_stream_goes_on_where_its_session_has_got_another_key(
    ann: Caller, held: ScriptedOllama
) -> None:
    thread = ann.thread()
    before = Session.objects.get().session_key
    url, body = f"/chat/streaming-response/{thread.pk}/", {"message": "Hello"}

    with ann.stream("POST", url, json=body, headers=SSE) as response:
        held.wait_for_open(1)
        change = {"old_password": PASSWORD, "new_password": "an0ther-horse-battery"}
        assert ann.post("/auth/password/change/", json=change).status_code == 200
        other = Caller(str(ann.base_url), ann.user)
        with other.stream("GET", url, headers=SSE) as theirs:  # until it has been looked at
            key = other.headers["Cookie"].removeprefix("sessionid=")
            Session.objects.filter(pk=key).delete()
            theirs.read()
        held.release()
        end = events_of(response.read().decode())[-1]

    assert not Session.objects.filter(pk=before).exists()
    assert (end.type, end.data["status"]) == ("end", "complete")

"""POST or DELETE /auth/deactivate/<username>/: the staff ends what somebody can do here."""

import pytest
from django.contrib.admin.models import LogEntry

from accounts.models import Session, User
from chat.models import Message, MessageStatus
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_user, is_logged_in, token_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_deactivation_ends_sessions_and_tokens_at_once(
    staff: Caller, bob: Caller, method: str
) -> None:
    secret = token_of(bob)

    answer = staff.request(method, "/auth/deactivate/BOB/")

    assert answer.status_code == 200
    assert answer.json() == {"message": "User bob has been deactivated."}
    assert not is_logged_in(bob)
    assert Session.objects.get().user == staff.user
    assert LogEntry.objects.get(user=staff.user).get_change_message() == (
        "Deactivated through the API."
    )
    by_token = bob.get("/chat/threads/", headers={"Authorization": f"Bearer {secret}"})
    error_of(by_token, 401, "not_authenticated")
    login = bob.post("/auth/login/", json={"username": "bob", "password": PASSWORD})
    error_of(login, 400, "invalid")


def test_a_deactivation_ends_a_running_reply(
    staff: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    thread = bob.thread()
    with bob.stream(
        "POST", f"/chat/streaming-response/{thread.pk}/", json={"message": "Hello"}
    ) as answer:
        pieces = answer.iter_text()
        assert next(pieces) == "Hel"

        staff.post("/auth/deactivate/bob/")

        assert not list(pieces)
    wait_until(
        lambda: Message.objects.get(thread=thread, sender="bot").status == MessageStatus.STOPPED
    )
    wait_until(lambda: ollama.chats[0].ended_by == "disconnect")


def test_only_staff_deactivates_users(ann: Caller, bob: Caller, nobody: Caller) -> None:
    error_of(ann.post("/auth/deactivate/bob/"), 403, "forbidden")
    error_of(ann.post("/auth/deactivate/unknown/"), 403, "forbidden")
    error_of(nobody.post("/auth/deactivate/bob/"), 401, "not_authenticated")
    assert is_logged_in(bob)


def test_nobody_deactivates_themselves_or_a_superuser(staff: Caller) -> None:
    root = Caller(str(staff.base_url), create_user("root", is_staff=True, is_superuser=True))

    error_of(staff.post("/auth/deactivate/staff/"), 403, "forbidden")
    error_of(staff.post("/auth/deactivate/root/"), 403, "forbidden")
    error_of(root.post("/auth/deactivate/root/"), 403, "forbidden")

    assert is_logged_in(staff)
    assert is_logged_in(root)


@pytest.mark.parametrize("name", ["unknown", "bob@example.com", "%20", "%F0%9F%A6%99"])
def test_an_unknown_user_is_not_found(staff: Caller, bob: Caller, name: str) -> None:
    error_of(staff.post(f"/auth/deactivate/{name}/"), 404, "not_found")


def test_a_name_with_nul_is_refused(staff: Caller) -> None:
    error_of(staff.post("/auth/deactivate/b%00b/"), 400, "invalid")


def test_a_login_that_was_under_way_does_not_outlive_a_reactivation(bob: Caller) -> None:
    assert bob.user
    bob.user.deactivate()
    late = Caller(str(bob.base_url), bob.user)

    bob.user.reactivate()

    assert not is_logged_in(late)


def test_reactivating_an_active_user_changes_nothing(bob: Caller) -> None:
    assert bob.user
    bob.user.deactivate()
    before = User.objects.get()
    bob.user.reactivate()
    token_of(bob)
    again = Caller(str(bob.base_url), bob.user)

    for user in (bob.user, before):
        assert not user.reactivate()

    assert is_logged_in(again)
    assert bob.user.tokens.exists()

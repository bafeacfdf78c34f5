"""What is deleted in the background: deleted users, hidden at once, and what has expired."""

from functools import partial
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.utils import timezone

from accounts import cleanup
from accounts.models import Session, Token, User
from chat.models import Send, Thread, Usage
from testing.admin import USERS, Browser
from testing.answers import error_of
from testing.people import PASSWORD, Caller, create_session, create_user, is_logged_in, token_of
from testing.processes import Server
from testing.races import at_once


def account_of(user: User) -> dict[str, str]:
    return {"username": user.username, "email": user.email, "password": PASSWORD}


def run(step: Any, limit: int = 100) -> int:
    total = 0
    while deleted := step(limit):
        total += deleted
    return total


# --- Deleted users ------------------------------------------------------------------------------


def test_a_deleted_users_name_and_address_are_free_while_the_rows_are_there(
    ann: Caller, nobody: Caller, rows_stay: None
) -> None:
    assert ann.user
    ann.delete("/auth/delete/")
    assert User.all_objects.filter(pk=ann.user.pk).exists()

    assert nobody.post("/auth/register/", json=account_of(ann.user)).status_code == 201


def test_a_deleted_user_opens_nothing_while_the_rows_are_there(
    ann: Caller, nobody: Caller, rows_stay: None
) -> None:
    elsewhere, script = Caller(str(ann.base_url), ann.user), Caller(str(ann.base_url))
    script.headers["Authorization"] = f"Bearer {token_of(ann)}"

    ann.delete("/auth/delete/")

    assert Session.objects.exists()
    assert Token.objects.exists()
    assert not is_logged_in(ann)
    assert not is_logged_in(elsewhere)
    error_of(script.get("/chat/threads/"), 401, "not_authenticated")
    for name in ("ann", "ann@example.com"):
        body = {"username": name, "password": PASSWORD}
        error_of(nobody.post("/auth/login/", json=body), 400, "invalid")


def test_nothing_of_a_deleted_user_is_in_the_admin_while_the_rows_are_there(
    root: Browser, ann: Caller, rows_stay: None
) -> None:
    assert ann.user
    thread = ann.thread()
    ann.say(thread, "a message of theirs")
    pages = [f"{USERS}{ann.user.pk}/change/", f"/admin/chat/thread/{thread.pk}/change/"]
    assert [root.get(page).status_code for page in pages] == [200, 200]

    ann.delete("/auth/delete/")

    assert Thread.objects.exists()
    assert Usage.objects.exists()
    assert [root.get(page).status_code for page in pages] == [302, 302]  # "doesn't exist"
    for kind in ("accounts/user", "chat/thread", "chat/message", "chat/usage"):
        assert "ann" not in root.get(f"/admin/{kind}/").text.replace("Change-Password", "")
        assert "deleted user" not in root.get(f"/admin/{kind}/").text


def test_the_log_of_a_deleted_operator_is_gone_at_once(
    root: Browser, staff: Caller, bob: Caller, rows_stay: None
) -> None:
    assert staff.user
    assert bob.user
    LogEntry.objects.log_actions(staff.user.pk, [bob.user], CHANGE, "x", single_object=True)
    history = f"{USERS}{bob.user.pk}/history/"
    assert "<td>staff" in root.get(history).text

    staff.delete("/auth/delete/")

    assert not LogEntry.objects.exists()
    assert "<td>staff" not in root.get(history).text


def test_the_rows_of_a_deleted_user_are_deleted_a_few_at_a_time(
    ann: Caller, bob: Caller, rows_stay: None
) -> None:
    assert ann.user
    for _ in range(5):
        create_session(ann.user)
        token_of(ann)
    Usage.objects.bulk_create(
        Usage(user=ann.user, date=f"2026-01-{day:02}", model="m") for day in range(1, 29)
    )
    ann.user.delete()

    batches = []
    while number := cleanup.delete_hidden_users(10):
        batches.append(number)

    assert max(batches) == 10
    assert sum(batches) == 6 + 5 + 28 + 1  # with the user
    assert User.all_objects.get() == bob.user


def test_whatever_refers_to_a_user_is_deleted(ann: Caller, rows_stay: None) -> None:
    assert ann.user
    ann.say(ann.thread(), headers={"Idempotency-Key": "once"})
    LogEntry.objects.log_actions(ann.user.pk, [ann.user], CHANGE, "x", single_object=True)
    token_of(ann)
    referring = {relation.related_model for relation in User._meta.related_objects}
    assert {Session, Token, LogEntry, Thread, Usage, Send} <= referring
    ann.user.delete()

    run(cleanup.delete_hidden_users)

    for model in referring:
        assert not model._base_manager.exists(), model


# --- What has expired ---------------------------------------------------------------------------


def test_expired_sessions_are_deleted(ann: Caller, rows_stay: None) -> None:
    assert ann.user
    for _ in range(25):
        create_session(ann.user)
    Session.objects.exclude(pk__in=ann.headers["Cookie"]).update(expire_date=timezone.now())
    current = create_session(ann.user)

    assert run(cleanup.delete_expired_sessions, limit=10) == 26

    assert Session.objects.get().session_key == current


def test_expired_tokens_are_deleted(ann: Caller, rows_stay: None) -> None:
    for _ in range(3):
        token_of(ann)
    kept = Token.objects.latest("pk")
    Token.objects.exclude(pk=kept.pk).update(expires_at=timezone.now())

    assert run(cleanup.delete_expired_tokens) == 2

    assert Token.objects.get() == kept


def test_expired_tokens_do_not_count_and_are_not_listed(ann: Caller, rows_stay: None) -> None:
    for _ in range(Token.MAX_PER_USER):
        token_of(ann)
    expired = Token.objects.latest("pk")
    Token.objects.filter(pk=expired.pk).update(expires_at=timezone.now())

    answer = ann.post("/auth/tokens/", json={"name": "x", "days": 1})

    assert answer.status_code == 201
    listed = [token["id"] for token in ann.get("/auth/tokens/").json()["tokens"]]
    assert len(listed) == Token.MAX_PER_USER
    assert expired.pk not in listed


def test_many_at_once_are_no_more_than_fifty(server: Server) -> None:
    ann = Caller(server.url, create_user("ann"))
    assert ann.user
    for _ in range(Token.MAX_PER_USER - 1):
        token_of(ann)

    body = {"name": "x", "days": 1}
    answers = at_once(*[partial(Caller.post, ann, "/auth/tokens/", json=body)] * 8)

    assert [answer.status_code for answer in answers] == [201] + [400] * 7
    assert ann.user.tokens.count() == Token.MAX_PER_USER

"""`CHAT_KEEP_DAYS`: how long threads are kept that nobody uses."""

import json
from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat import threads
from chat.models import Message, Sender, Thread
from chat.tests.exports import chatgpt_chat
from testing.people import PASSWORD, Caller, create_user
from testing.processes import StartServer
from testing.waiting import wait_until


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


@pytest.mark.usefixtures("each_database")
def test_threads_that_nobody_has_used_for_so_long_are_deleted(settings: Settings) -> None:
    settings.CHAT_KEEP_DAYS = 30
    ann = create_user("ann")
    for used in (31, 30.001, 29.999, 0):
        Thread.objects.create(
            user=ann, model="tiny", title=str(used), pinned=True, updated_at=days_ago(used)
        )

    assert threads.delete_unused(1) + threads.delete_unused(10) + threads.delete_unused(10) == 2

    assert [thread.title for thread in Thread.objects.order_by("pk")] == ["29.999", "0"]


@pytest.mark.usefixtures("each_database")
def test_without_the_setting_everything_is_kept(settings: Settings) -> None:
    assert settings.CHAT_KEEP_DAYS == 0
    Thread.objects.create(user=create_user("ann"), model="tiny", updated_at=days_ago(10_000))

    assert threads.delete_unused(10) == 0


@pytest.mark.usefixtures("each_database")
def test_a_thread_that_is_used_at_this_moment_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHAT_KEEP_DAYS = 30
    Thread.objects.create(user=create_user("ann"), model="tiny", updated_at=days_ago(31))
    original = threads._hide

    def hide(found: object) -> int:
        Thread.objects.update(updated_at=timezone.now())
        return original(found)  # type: ignore[arg-type]

    monkeypatch.setattr(threads, "_hide", hide)

    assert threads.delete_unused(10) == 0
    assert Thread.objects.count() == 1


def test_a_server_deletes_old_threads_and_says_so_at_registration(
    start_server: StartServer, ann: Caller, nobody: Caller
) -> None:
    old, new = ann.thread(updated_at=days_ago(8)), ann.thread()
    for thread in (old, new):
        Message.objects.create(thread=thread, sender=Sender.USER, content="x")
    account = {"username": "zoe", "email": "zoe@example.com", "password": PASSWORD}
    server = start_server(CHAT_KEEP_DAYS="7")

    answer = Caller(server.url).post("/auth/register/", json=account)

    assert answer.status_code == 201, answer.text
    notice = answer.json()["notice"]
    assert notice == "Conversations are deleted 7 days after their last message."
    wait_until(lambda: list(Thread.all_objects.all()) == [new], 30)
    assert [message.thread for message in Message.objects.all()] == [new]
    other = {"username": "zac", "email": "zac@example.com", "password": PASSWORD}
    assert "notice" not in nobody.post("/auth/register/", json=other).json()


def test_conversations_that_are_too_old_are_not_imported(
    start_server: StartServer, ann: Caller
) -> None:
    server = start_server(CHAT_KEEP_DAYS="7")
    now = timezone.now().timestamp()
    old = chatgpt_chat()
    new = {**chatgpt_chat(), "update_time": now, "conversation_id": "new", "title": "New"}

    with Caller(server.url, ann.user) as caller:
        answer = caller.post(
            "/chat/import/",
            content=json.dumps([old, new]),
            headers={"Content-Type": "application/json"},
        )

    lines = [json.loads(line) for line in answer.text.splitlines()]
    skipped, imported = (line for line in lines if line["type"] in ("skipped", "thread"))
    assert (skipped["code"], skipped["reason"]) == (
        "expired",
        "It is older than what this server keeps.",
    )
    assert imported["title"] == "New"

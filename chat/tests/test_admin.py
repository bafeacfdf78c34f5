"""Threads, messages and usage in the admin: who may read them, and how they are deleted."""

import re

import pytest

from accounts.models import User
from chat.models import Message, Thread
from testing.admin import (
    USERS,
    Browser,
    act,
)
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, sending
from testing.waiting import wait_until


def test_only_those_who_may_view_messages_see_text(
    root: Browser, operator: Browser, ann: Caller
) -> None:
    thread = ann.thread()
    ann.say(thread, "a secret of mine")
    Thread.objects.update(system_prompt="You know a secret.", options={"stop": ["secret stop"]})
    pages = [
        "/admin/chat/thread/",
        f"/admin/chat/thread/{thread.pk}/change/",
        "/admin/chat/message/",
        f"/admin/chat/message/{thread.messages.first().pk}/change/",  # type: ignore[union-attr]
        f"{USERS}{ann.user.pk}/delete/",  # type: ignore[union-attr]
        "/admin/",
    ]

    as_operator = [operator.get(page) for page in pages]
    as_root = [root.get(page) for page in pages]

    assert [answer.status_code for answer in as_operator] == [200, 200, 403, 403, 200, 200]
    assert not [answer for answer in as_operator if "secret" in answer.text]
    assert "a secret of mine" in as_root[1].text  # its title
    assert "secret stop" in as_root[1].text
    assert "a secret of mine" in as_root[2].text
    assert "You said: a secret of mine" in as_root[2].text
    assert re.search(r'field-number_of_messages">2<', as_operator[0].text)


@pytest.mark.parametrize(
    "query", ["title__startswith=a", "system_prompt__isnull=1", "messages__content__contains=a"]
)
def test_nobody_guesses_text_by_the_address_of_a_list(
    operator: Browser, ann: Caller, query: str
) -> None:
    ann.thread(title="a secret of mine")

    error_of(operator.get(f"/admin/chat/thread/?{query}"), 400, "invalid")


@pytest.mark.parametrize("kind", ["thread", "message", "usage"])
def test_the_search_of_threads_messages_and_usage_finds_no_addresses(
    root: Browser, ann: Caller, kind: str
) -> None:
    ann.say(ann.thread())

    def found(query: str) -> bool:
        page = root.get(f"/admin/chat/{kind}/", params={"q": query})
        assert page.status_code == 200
        return 'class="action-checkbox"' in page.text or "field-user" in page.text

    assert found("ann")
    assert not found("ann@example")


def test_a_thread_cannot_be_changed(root: Browser, ann: Caller) -> None:
    thread = ann.thread(title="Mine")

    answer = root.post(f"/admin/chat/thread/{thread.pk}/change/", data={"title": "Yours"})

    error_of(answer, 403, "forbidden")
    thread.refresh_from_db()
    assert thread.title == "Mine"


def test_a_long_thread_goes_alone_or_with_its_user_but_not_by_the_message(
    root: Browser, ann: Caller
) -> None:
    def long_thread() -> Thread:
        thread, parent = ann.thread(), None
        for _ in range(1_100):  # deeper than Python's stack
            parent = Message.objects.create(thread=thread, sender="user", parent=parent)
        return thread

    threads = [long_thread(), long_thread()]
    message = f"/admin/chat/message/{threads[0].messages.earliest('pk').pk}"
    paths = [f"/admin/chat/thread/{threads[0].pk}", f"{USERS}{ann.user.pk}"]  # type: ignore[union-attr]

    assert f"{message}/delete/" not in root.get(f"{message}/change/").text
    assert "delete_selected" not in root.get("/admin/chat/message/").text
    error_of(root.post(f"{message}/delete/", data={"post": "yes"}), 403, "forbidden")
    for path in paths:
        assert "Messages: 1100" in root.get(f"{path}/delete/").text
        assert root.post(f"{path}/delete/", data={"post": "yes"}).status_code == 302
    wait_until(lambda: not Message.objects.exists(), 30)
    assert User.objects.get() == root.user


def test_deleting_users_in_the_list_ends_their_replies(
    root: Browser, ann: Caller, ollama: ScriptedOllama
) -> None:
    assert ann.user
    ollama.script = Script(["one ", "two "], hold_after=1)
    with sending(ann, ann.thread(), **SSE) as reading:
        reading.until("one")

        act(root, "delete_selected", ann.user, post="yes")

        reading.to_the_end()
    assert not User.objects.filter(username="ann").exists()
    wait_until(lambda: not Thread.all_objects.exists())

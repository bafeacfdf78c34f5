"""GET /chat/threads/: the user's threads, page by page."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.utils import timezone

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending
from testing.trees import grow

URL = "/chat/threads/"


def threads_of(caller: Caller, number: int, **fields: Any) -> list[int]:
    """Create threads; return their ids, newest activity first."""
    now = timezone.now()
    threads = [
        caller.thread(title=str(i), **{"updated_at": now - timedelta(minutes=i), **fields})
        for i in range(number)
    ]
    return [thread.pk for thread in threads]


def page(caller: Caller, limit: int, cursor: str | None = "") -> tuple[list[int], str | None]:
    """Return one page's ids and the next cursor."""
    answer = caller.get(URL, params={"limit": limit, "cursor": cursor or ""})
    assert answer.status_code == 200, answer.text
    return [thread["id"] for thread in answer.json()["threads"]], answer.json()["next"]


def test_the_list_has_the_users_own_threads_newest_activity_first(ann: Caller, bob: Caller) -> None:
    threads_of(bob, 2)
    ids = threads_of(ann, 3)

    answer = ann.get(URL)

    assert answer.status_code == 200
    assert [thread["id"] for thread in answer.json()["threads"]] == ids
    assert answer.json()["next"] is None
    assert set(answer.json()["threads"][0]) == {
        "id",
        "title",
        "model",
        "created_at",
        "updated_at",
        "pinned",
        "archived",
        "expires_at",
        "position",
        "running_reply_id",
        "preview",
    }


def test_a_message_moves_its_thread_to_the_front(ann: Caller) -> None:
    ids = threads_of(ann, 3)

    ann.say(Thread.objects.get(pk=ids[2]))

    assert page(ann, 50)[0] == [ids[2], ids[0], ids[1]]


def test_a_page_has_two_hundred_threads_without_a_limit_and_up_to_five_hundred_with_one(
    ann: Caller,
) -> None:
    assert ann.user
    Thread.objects.bulk_create(Thread(user=ann.user, model="tiny") for _ in range(501))

    body = ann.get(URL).json()

    assert len(body["threads"]) == 200
    assert body["next"]
    assert len(page(ann, 500)[0]) == 500


def test_pinned_threads_come_first(ann: Caller) -> None:
    ids = threads_of(ann, 5)
    for number in (3, 1):
        assert ann.patch(f"{URL}{ids[number]}/", json={"pinned": True}).json()["pinned"] is True

    first, cursor = page(ann, 1)
    second, cursor = page(ann, 2, cursor)
    third, cursor = page(ann, 2, cursor)

    assert [*first, *second, *third] == [ids[number] for number in (1, 3, 0, 2, 4)]
    assert cursor is None


def test_pinning_is_no_activity_and_can_be_taken_back(ann: Caller) -> None:
    ids = threads_of(ann, 3)
    updated_at = Thread.objects.get(pk=ids[2]).updated_at

    for pinned in (True, None, True, False):
        ann.patch(f"{URL}{ids[2]}/", json={"pinned": pinned})

    assert page(ann, 3)[0] == ids
    assert Thread.objects.get(pk=ids[2]).updated_at == updated_at


def test_archived_threads_have_a_list_of_their_own(ann: Caller) -> None:
    ids = threads_of(ann, 4)
    for number in (0, 2):
        ann.patch(f"{URL}{ids[number]}/", json={"archived": True})

    archived = ann.get(URL, params={"archived": "true", "limit": 1}).json()
    more = ann.get(URL, params={"archived": "true", "cursor": archived["next"]}).json()

    assert page(ann, 50)[0] == [ids[1], ids[3]]
    assert [thread["id"] for thread in archived["threads"] + more["threads"]] == [ids[0], ids[2]]
    assert all(thread["archived"] for thread in archived["threads"] + more["threads"])


def test_a_new_thread_is_neither_pinned_nor_archived(ann: Caller) -> None:
    made = ann.post("/chat/threads/new/").json()["thread"]

    assert (made["pinned"], made["archived"], made["expires_at"]) == (False, False, None)
    for name in ("pinned", "archived"):
        body = error_of(ann.post("/chat/threads/new/", json={name: True}), 400, "invalid")
        assert name in body["fields"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_the_pages_together_have_every_thread_once(ann: Caller, limit: int) -> None:
    ids = threads_of(ann, 7)

    seen: list[int] = []
    more, cursor = page(ann, limit)
    while cursor:
        seen += more
        assert len(more) == limit
        more, cursor = page(ann, limit, cursor)

    assert seen + more == ids


def test_threads_of_the_same_moment_are_told_apart(ann: Caller) -> None:
    ids = threads_of(ann, 5, updated_at=timezone.now())

    first, cursor = page(ann, 2)
    second, cursor = page(ann, 2, cursor)
    third, cursor = page(ann, 2, cursor)

    assert first + second + third == sorted(ids, reverse=True)
    assert cursor is None


def test_nothing_is_skipped_or_doubled_while_threads_move(ann: Caller) -> None:
    ids = threads_of(ann, 6)
    first, cursor = page(ann, 2)
    ann.say(Thread.objects.get(pk=ids[1]))  # seen already
    ann.thread()
    second, cursor = page(ann, 2, cursor)
    Thread.objects.get(pk=ids[3]).delete()
    third, cursor = page(ann, 2, cursor)

    assert [*first, *second, *third] == ids
    assert cursor is None


def signed(key: Any, caller: Caller) -> str:
    """A cursor as the server would sign it."""
    assert caller.user
    return signing.dumps(key, salt=f"accounts.User-{caller.user.pk}")


def unsigned(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!",
        "a:b",
        "::::",
        ".:.:.",
        "größer",
        "\0",
        "x" * 10_000,
        unsigned([False, "2026-01-01T00:00:00+00:00", 1]),
        unsigned([False, "2026-01-01T00:00:00", 1]),
        unsigned([False, "2026-01-01T00:00:00+00:00", 10**40]),
        unsigned([float("inf"), float("nan")]),
        unsigned([[[[[[]]]]]]),
        "WyI" * 3 + ":1abcde:" + "A" * 43,
    ],
)
def test_a_cursor_that_cannot_be_read_is_refused(ann: Caller, cursor: str) -> None:
    ann.thread()

    body = error_of(ann.get(URL, params={"cursor": cursor}), 400, "invalid")

    assert body["fields"] == {"cursor": ["The cursor cannot be read."]}


def test_a_cursor_that_was_changed_is_refused(ann: Caller) -> None:
    threads_of(ann, 3)
    cursor = page(ann, 1)[1]
    assert cursor

    for place in (0, len(cursor) // 2, len(cursor) - 2):
        other = "A" if cursor[place] != "A" else "B"
        changed = cursor[:place] + other + cursor[place + 1 :]
        error_of(ann.get(URL, params={"cursor": changed}), 400, "invalid")


def test_a_cursor_of_somebody_else_or_of_another_list_is_refused(ann: Caller, bob: Caller) -> None:
    threads_of(ann, 2)
    threads_of(bob, 2)
    thread = ann.thread()
    ann.say(thread)
    of_messages = ann.get(f"/chat/threads/{thread.pk}/messages/", params={"limit": 1}).json()

    for cursor in (page(bob, 1)[1], of_messages["next"]):
        error_of(ann.get(URL, params={"cursor": cursor}), 400, "invalid")


def test_this_test_signs_cursors_as_the_server_does(ann: Caller) -> None:
    ids = threads_of(ann, 2)

    assert page(ann, 1, signed([False, str(timezone.now()), 0], ann))[0] == ids[:1]


@pytest.mark.parametrize("limit", ["0", "501", "-1", "many", "1.5", "", "9" * 5000])
def test_a_limit_out_of_its_bounds_is_refused(ann: Caller, limit: str) -> None:
    body = error_of(ann.get(URL, params={"limit": limit}), 400, "invalid")

    assert "limit" in body["fields"]


def test_the_list_requires_a_login(nobody: Caller) -> None:
    error_of(nobody.get(URL), 401, "not_authenticated")


class TestPreviews:
    """`preview` is how the last message of the current branch begins."""

    def preview(self, caller: Caller) -> str:
        (thread,) = caller.get(URL).json()["threads"]
        return str(thread["preview"])

    def test_the_preview_is_empty_without_messages(self, ann: Caller) -> None:
        ann.thread(title="Mine")

        assert self.preview(ann) == ""

    def test_the_preview_is_the_last_reply(self, ann: Caller) -> None:
        ann.say(ann.thread(), "Hello")

        assert self.preview(ann) == "You said: Hello"

    def test_the_preview_has_a_hundred_and_twenty_characters(self, ann: Caller) -> None:
        text = "\U0001f999 \n'%s' " * 50
        grow(ann.thread(), [None], text)

        assert self.preview(ann) == f"0{text}"[:120]

    def test_the_preview_is_of_the_current_branch(self, ann: Caller) -> None:
        tree = grow(ann.thread(), [None, 0, 1, 0])
        Thread.objects.update(current_message=tree[2].pk)

        assert self.preview(ann) == "2"

    def test_the_preview_is_the_question_until_the_reply_has_a_word(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        ollama.script = Script(["one ", "two "], hold_after=0)
        with sending(ann, ann.thread(), "Count") as reading:
            reading.until("event: start")
            assert self.preview(ann) == "Count"
            ollama.release()
            reading.to_the_end()
        assert self.preview(ann) == "one two "


def test_the_list_has_the_running_reply_of_a_thread(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    quiet, thread = ann.thread(), ann.thread()
    ann.thread()

    def running() -> list[int | None]:
        threads = ann.get(URL).json()["threads"]
        return [thread["running_reply_id"] for thread in threads if thread["id"] != quiet.pk]

    assert running() == [None, None]
    with sending(ann, thread) as reading:
        reading.until("one")
        assert running() == [reply_of(thread).pk, None]
        ollama.release()
        reading.to_the_end()
    assert running() == [None, None]

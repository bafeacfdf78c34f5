"""DELETE /chat/threads/<id>/delete/ and DELETE /chat/threads/delete/."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from chat.models import Message, Thread, Usage
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of


def test_a_thread_is_deleted_with_its_messages(ann: Caller) -> None:
    kept, deleted = ann.thread(), ann.thread()
    ann.say(kept)
    ann.say(deleted)

    answer = ann.delete(f"/chat/threads/{deleted.pk}/delete/")

    assert answer.status_code == 200
    assert answer.json() == {"status": "Thread deleted successfully"}
    assert list(Thread.objects.all()) == [kept]
    assert {message.thread for message in Message.objects.visible()} == {kept}


def test_the_usage_of_deleted_threads_stays_counted(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread)

    ann.delete(f"/chat/threads/{thread.pk}/delete/")

    assert Usage.objects.get().replies == 1


def test_a_deleted_thread_is_not_found(ann: Caller) -> None:
    thread = ann.thread()
    ann.delete(f"/chat/threads/{thread.pk}/delete/")

    error_of(ann.delete(f"/chat/threads/{thread.pk}/delete/"), 404, "not_found")


def test_nobody_deletes_somebody_elses_thread(ann: Caller, bob: Caller) -> None:
    thread = ann.thread()

    error_of(bob.delete(f"/chat/threads/{thread.pk}/delete/"), 404, "not_found")

    assert Thread.objects.filter(pk=thread.pk).exists()


def test_all_of_a_users_threads_are_deleted_at_once(ann: Caller, bob: Caller) -> None:
    theirs = bob.thread()
    for _ in range(3):
        ann.say(ann.thread())

    answer = ann.delete("/chat/threads/delete/")

    assert answer.status_code == 200
    assert answer.json() == {"status": "Successfully deleted 3 threads"}
    assert list(Thread.objects.all()) == [theirs]
    assert ann.delete("/chat/threads/delete/").json() == {
        "status": "Successfully deleted 0 threads"
    }


def test_some_of_a_users_threads_are_deleted_by_their_ids(ann: Caller, bob: Caller) -> None:
    theirs, kept = bob.thread(), ann.thread()
    gone = [ann.thread() for _ in range(2)]
    expired = ann.thread(expires_at=timezone.now() - timedelta(seconds=1))
    ids = [thread.pk for thread in (*gone, theirs, expired, gone[0])]

    answer = delete_threads(ann, ids=[*ids, 2**62])

    assert answer.json() == {"status": "Successfully deleted 2 threads"}
    assert set(Thread.objects.all()) == {theirs, kept}
    assert delete_threads(ann, ids=[]).json() == {"status": "Successfully deleted 0 threads"}
    assert Thread.objects.count() == 2


@pytest.mark.parametrize(
    "ids", [None, 1, "1", [None], ["1"], [True], [0], [-1], [2**63], [1.5], [[]], {}, [1] * 501]
)
def test_what_are_no_ids_deletes_nothing(ann: Caller, ids: Any) -> None:
    ann.thread()

    error_of(delete_threads(ann, ids=ids), 400, "invalid")

    assert Thread.objects.count() == 1


def test_500_threads_are_deleted_in_one_call(ann: Caller) -> None:
    assert ann.user
    many = Thread.objects.bulk_create(Thread(user=ann.user, model="tiny") for _ in range(501))

    answer = delete_threads(ann, ids=[thread.pk for thread in many[:500]])

    assert answer.json() == {"status": "Successfully deleted 500 threads"}
    assert list(Thread.objects.all()) == many[500:]


def delete_threads(caller: Caller, **body: Any) -> httpx.Response:
    return caller.request("DELETE", "/chat/threads/delete/", json=body)


def test_a_deletion_ends_the_threads_running_reply(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(["One ", "two"], hold_after=1)

    with ann.stream(
        "POST",
        f"/chat/streaming-response/{thread.pk}/",
        json={"message": "Hello"},
        headers=SSE,
    ) as response:
        ollama.wait_for_open(1)
        assert ann.delete(f"/chat/threads/{thread.pk}/delete/").status_code == 200
        ollama.wait_for_open(0)
        end = events_of(response.read().decode())[-1]

    assert ollama.chats[0].ended_by == "disconnect"
    assert (end.type, end.data["status"]) == ("end", "stopped")

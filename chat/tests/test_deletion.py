"""Deleted threads: hidden at once, their rows deleted in small batches afterwards."""

from concurrent.futures import ThreadPoolExecutor

from chat import cleanup, threads
from chat.models import Message, Send, Thread
from testing.admin import Browser
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of
from testing.waiting import wait_until


def long_thread(caller: Caller, length: int) -> Thread:
    """Create a thread in which each message follows the one before."""
    thread = caller.thread()
    first = Message.objects.create(thread=thread, sender="user", content="x")
    Message.objects.bulk_create(
        Message(pk=pk, parent_id=pk - 1, thread=thread, sender="bot", content="x")
        for pk in range(first.pk + 1, first.pk + length)
    )
    return thread


def test_no_call_finds_a_deleted_thread_while_its_rows_are_there(
    ann: Caller, rows_stay: None
) -> None:
    thread = ann.thread()
    ann.say(thread)

    assert ann.delete(f"/chat/threads/{thread.pk}/delete/").status_code == 200

    assert Message.objects.count() == 2
    path = f"/chat/threads/{thread.pk}"
    for answer in (
        ann.get(f"{path}/"),
        ann.patch(f"{path}/", json={"title": "x"}),
        ann.patch(f"{path}/update-title/", json={"title": "x"}),
        ann.get(f"{path}/messages/"),
        ann.post(f"{path}/stop/"),
        ann.get(f"/chat/streaming-response/{thread.pk}/"),
        ann.say(thread),
        ann.delete(f"{path}/delete/"),
    ):
        error_of(answer, 404, "not_found")
    assert ann.get("/chat/threads/").json()["threads"] == []
    assert ann.delete("/chat/threads/delete/").json()["status"] == "Successfully deleted 0 threads"
    assert Message.objects.count() == 2


def test_no_page_of_the_admin_shows_a_deleted_thread_while_its_rows_are_there(
    root: Browser, ann: Caller, rows_stay: None
) -> None:
    thread = ann.thread(title="the deleted one")
    ann.say(thread, "a deleted message")
    message = thread.messages.get(sender="user")

    ann.delete(f"/chat/threads/{thread.pk}/delete/")

    assert "Thread " not in root.get("/admin/chat/thread/").text
    assert "a deleted message" not in root.get("/admin/chat/message/").text
    assert "0 threads" in root.get(f"/admin/accounts/user/{message.thread.user_id}/change/").text
    for page in (f"thread/{thread.pk}", f"message/{message.pk}"):
        assert root.get(f"/admin/chat/{page}/change/").status_code == 302  # "doesn't exist"


def test_the_key_of_a_send_to_a_deleted_thread_serves_again(ann: Caller, rows_stay: None) -> None:
    key = {"Idempotency-Key": "once"}
    deleted, other = ann.thread(), ann.thread()
    ann.say(deleted, headers=key)
    ann.delete(f"/chat/threads/{deleted.pk}/delete/")

    assert ann.say(other, headers=key).text == "You said: Hello"


def test_a_reply_whose_thread_is_deleted_is_not_returned(
    ann: Caller, ollama: ScriptedOllama, rows_stay: None
) -> None:
    thread = ann.thread()
    ollama.script = Script(["One ", "two"], hold_after=1)

    with ThreadPoolExecutor() as pool:
        url, body = f"/chat/response/{thread.pk}/", {"message": "Hello"}
        answer = pool.submit(ann.post, url, json=body)
        ollama.wait_for_open(1)
        ann.delete(f"/chat/threads/{thread.pk}/delete/")

    error_of(answer.result(), 404, "not_found")


def test_a_reader_of_a_deleted_thread_is_told_that_its_reply_was_stopped(
    ann: Caller, ollama: ScriptedOllama, rows_stay: None
) -> None:
    thread = ann.thread()
    ollama.script = Script(["One ", "two"], hold_after=1)
    url, body = f"/chat/streaming-response/{thread.pk}/", {"message": "Hello"}

    with ann.stream("POST", url, json=body, headers=SSE) as response:
        ollama.wait_for_open(1)
        ann.delete(f"/chat/threads/{thread.pk}/delete/")
        end = events_of(response.read().decode())[-1]

    assert (end.type, end.data["status"]) == ("end", "stopped")


def test_the_rows_of_a_deleted_thread_are_deleted_a_few_at_a_time(
    ann: Caller, rows_stay: None
) -> None:
    kept, deleted = long_thread(ann, 3), long_thread(ann, 2_500)
    threads.delete(Thread.objects.filter(pk=deleted.pk))

    batches = []
    while number := cleanup.delete_hidden_threads(100):
        batches.append(number)

    assert batches == [100] * 25 + [1]  # the thread itself comes last
    assert list(Thread.all_objects.all()) == [kept]
    assert Message.objects.count() == 3


def test_many_short_threads_are_deleted_together(ann: Caller, rows_stay: None) -> None:
    for _ in range(30):
        long_thread(ann, 2)
    threads.delete(Thread.objects.all())

    assert [cleanup.delete_hidden_threads(100) for _ in range(3)] == [60, 30, 0]


def test_the_server_deletes_the_rows_of_a_deleted_thread(ann: Caller) -> None:
    thread = long_thread(ann, 500)

    ann.delete(f"/chat/threads/{thread.pk}/delete/")

    wait_until(lambda: not Message.objects.exists() and not Thread.all_objects.exists(), 30)


def test_keys_are_deleted_after_a_day(ann: Caller, rows_stay: None) -> None:
    thread = ann.thread()
    for key in ("old", "new"):
        ann.say(thread, headers={"Idempotency-Key": key})
    Send.objects.filter(key="old").update(created_at="2020-01-01T00:00:00Z")

    assert [cleanup.delete_expired_keys(100) for _ in range(2)] == [1, 0]

    assert Send.objects.get().key == "new"


def test_expired_threads_are_deleted_with_their_messages(ann: Caller, rows_stay: None) -> None:
    past, future = "2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z"
    kept = [ann.thread(), ann.thread(expires_at=future)]
    for thread in (long_thread(ann, 3), long_thread(ann, 3), *kept):
        ann.say(thread)
    Thread.objects.exclude(pk__in=[thread.pk for thread in kept]).update(expires_at=past)

    assert [threads.delete_expired(1) for _ in range(3)] == [1, 1, 0]
    assert [cleanup.delete_hidden_threads(100) for _ in range(3)] == [10, 2, 0]

    assert list(Thread.all_objects.order_by("pk")) == kept


def test_a_running_reply_of_an_expired_thread_is_stopped(
    ann: Caller, ollama: ScriptedOllama, rows_stay: None
) -> None:
    thread = ann.thread()
    ollama.script = Script(["One ", "two"], hold_after=1)
    url, body = f"/chat/streaming-response/{thread.pk}/", {"message": "Hello"}

    with ann.stream("POST", url, json=body, headers=SSE) as response:
        ollama.wait_for_open(1)
        Thread.objects.update(expires_at="2020-01-01T00:00:00Z")
        threads.delete_expired(10)
        end = events_of(response.read().decode())[-1]

    assert (end.type, end.data["status"]) == ("end", "stopped")

"""DELETE /chat/threads/<id>/delete/ and DELETE /chat/threads/delete/."""

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


def test_what_was_used_stays_counted(ann: Caller) -> None:
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

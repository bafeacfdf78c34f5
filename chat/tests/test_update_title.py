"""PUT and PATCH /chat/threads/<id>/update-title/, and the titles that threads get by themselves."""

from typing import Any

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama


def url(thread: Thread) -> str:
    return f"/chat/threads/{thread.pk}/update-title/"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("title", ["New", "x" * 200, "größer 🎉"])
def test_a_thread_is_given_a_title(ann: Caller, method: str, title: str) -> None:
    thread = ann.thread(title="Old")

    answer = ann.request(method, url(thread), json={"title": title})

    assert answer.status_code == 200
    assert answer.json() == {"status": "Title updated successfully"}
    thread.refresh_from_db()
    assert (thread.title, thread.title_is_given) == (title, True)


def test_a_new_title_leaves_the_threads_place_in_the_list(ann: Caller) -> None:
    thread = ann.thread()

    ann.put(url(thread), json={"title": "New"})

    assert Thread.objects.get(pk=thread.pk).updated_at == thread.updated_at


@pytest.mark.parametrize("title", ["", " \t\n", "x" * 201, None, 5, ["x"], "a\0b"])
def test_an_invalid_title_is_refused(ann: Caller, title: Any) -> None:
    thread = ann.thread(title="Old")

    body = error_of(ann.put(url(thread), json={"title": title}), 400, "invalid")

    assert "title" in body["fields"]
    thread.refresh_from_db()
    assert thread.title == "Old"


def test_nobody_gives_somebody_elses_thread_a_title(ann: Caller, bob: Caller) -> None:
    thread = ann.thread(title="Mine")

    error_of(bob.put(url(thread), json={"title": "Bob's"}), 404, "not_found")

    thread.refresh_from_db()
    assert thread.title == "Mine"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Hello", "Hello"),
        ("  Hello\n\nyou ", "Hello you"),
        (
            "Tell me everything about the history of the llama in the Andes, please",
            "Tell me everything about the history of the llama in the…",
        ),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_a_thread_is_titled_by_the_first_words_of_its_first_message(
    ann: Caller, ollama: ScriptedOllama, message: str, title: str
) -> None:
    thread = ann.thread()
    ollama.script = Script(["Yes"], hold_after=0)

    with ann.stream(
        "POST",
        f"/chat/streaming-response/{thread.pk}/",
        json={"message": message},
        headers={"Accept": "text/event-stream"},
    ):
        thread.refresh_from_db()
        assert thread.title == title  # before the model has said a word
        ollama.wait_for_open(1)
        ollama.release()
    assert len(title) <= 60


def test_a_later_message_changes_no_title(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "First")
    ann.say(thread, "Second")

    thread.refresh_from_db()
    assert thread.title == "First"


def test_a_title_that_a_person_gave_stays(ann: Caller) -> None:
    thread = ann.thread()
    ann.put(url(thread), json={"title": "Mine"})

    ann.say(thread, "First")

    thread.refresh_from_db()
    assert thread.title == "Mine"

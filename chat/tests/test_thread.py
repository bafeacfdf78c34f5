"""GET and PATCH /chat/threads/<id>/: what is set of a thread."""

from typing import Any

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import ScriptedOllama


def url(thread: Thread) -> str:
    return f"/chat/threads/{thread.pk}/"


def test_a_thread_is_read_with_its_settings(ann: Caller) -> None:
    thread = ann.thread(title="Mine", system_prompt="Rhyme.", options={"seed": 7})

    answer = ann.get(url(thread))

    assert answer.status_code == 200
    body = answer.json()
    assert body["id"] == thread.pk
    assert (body["title"], body["model"]) == ("Mine", "llama3.2")
    assert (body["system_prompt"], body["options"]) == ("Rhyme.", {"seed": 7})


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({"title": "New"}, {"title": "New", "title_is_given": True}),
        ({"title": None}, {"title": "", "title_is_given": False}),
        ({"model": "tiny"}, {"model": "tiny"}),
        ({"model": None}, {"model": "llama3.2"}),
        ({"system_prompt": "Sing."}, {"system_prompt": "Sing."}),
        ({"system_prompt": ""}, {"system_prompt": ""}),
        ({"system_prompt": None}, {"system_prompt": None}),
        ({"options": {"top_k": 5}}, {"options": {"top_k": 5}}),
        ({"options": {"top_k": None}}, {"options": {}}),
        ({"options": None}, {"options": {}}),
        ({}, {}),
    ],
)
def test_only_the_fields_that_are_named_are_changed(
    ann: Caller, changes: dict[str, Any], stored: dict[str, Any]
) -> None:
    thread = ann.thread(title="Old", model="thinker", system_prompt="Rhyme.", options={"seed": 7})
    before = Thread.objects.values().get(pk=thread.pk)

    answer = ann.patch(url(thread), json=changes)

    assert answer.status_code == 200
    assert Thread.objects.values().get(pk=thread.pk) == {**before, **stored}
    assert answer.json() == ann.get(url(thread)).json()


def test_the_next_reply_is_by_the_new_model(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ann.say(thread)

    ann.patch(url(thread), json={"model": "tiny"})
    ann.say(thread)

    assert [chat.body["model"] for chat in ollama.chats] == ["llama3.2", "tiny"]


def test_a_model_that_ollama_lacks_is_refused(ann: Caller) -> None:
    thread = ann.thread()

    body = error_of(ann.patch(url(thread), json={"model": "gpt-5", "title": "x"}), 400, "invalid")

    assert "tiny:latest" in body["fields"]["model"][0]
    thread.refresh_from_db()
    assert (thread.model, thread.title) == ("llama3.2", "")


def test_an_unknown_field_is_refused(ann: Caller) -> None:
    thread = ann.thread()

    body = error_of(ann.patch(url(thread), json={"user_id": 1, "title": "x"}), 400, "invalid")

    assert "user_id" in body["fields"]
    thread.refresh_from_db()
    assert thread.title == ""


def test_nobody_reads_or_changes_somebody_elses_thread(ann: Caller, bob: Caller) -> None:
    thread = ann.thread(title="Mine")

    error_of(bob.get(url(thread)), 404, "not_found")
    error_of(bob.patch(url(thread), json={"title": "Bob's"}), 404, "not_found")
    thread.refresh_from_db()
    assert thread.title == "Mine"


def test_somebody_elses_thread_looks_like_one_that_does_not_exist(ann: Caller, bob: Caller) -> None:
    theirs = bob.get(url(ann.thread()))
    nowhere = bob.get("/chat/threads/999999999/")

    assert theirs.json() == nowhere.json()


def test_a_change_without_a_body_changes_nothing(ann: Caller) -> None:
    thread = ann.thread(title="Mine")

    answer = ann.patch(url(thread))

    assert answer.status_code == 200
    assert answer.json()["title"] == "Mine"

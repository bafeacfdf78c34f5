"""POST /chat/threads/new/: beginning a thread."""

from typing import Any

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.scripted_ollama import ScriptedOllama

URL = "/chat/threads/new/"

OPTIONS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "seed": 7,
    "num_ctx": 2048,
    "num_predict": 100,
    "stop": ["\n\n", "END"],
}


def test_a_new_thread_has_the_servers_defaults(ann: Caller) -> None:
    answer = ann.post(URL)

    assert answer.status_code == 201
    thread = Thread.objects.get()
    assert thread.user == ann.user
    assert answer.json()["thread_id"] == thread.pk
    times = {"created_at", "updated_at"}
    body = answer.json()["thread"]
    assert {name: value for name, value in body.items() if name not in times} == {
        "id": thread.pk,
        "title": "New Chat",
        "model": "llama3.2",
        "system_prompt": None,
        "options": {},
        "pinned": False,
        "archived": False,
        "expires_at": None,
        "current_message_id": None,
    }
    assert all(body[name].endswith("Z") for name in times)


def test_an_empty_object_is_as_good_as_no_body(ann: Caller) -> None:
    assert ann.post(URL, json={}).status_code == 201


def test_a_new_thread_has_the_fields_it_is_given(ann: Caller) -> None:
    wanted = {"title": "Mine", "model": "tiny", "system_prompt": "Rhyme.", "options": OPTIONS}

    answer = ann.post(URL, json=wanted)

    assert answer.status_code == 201
    thread = answer.json()["thread"]
    assert {name: thread[name] for name in wanted} == wanted


def test_a_threads_options_and_system_prompt_reach_the_model(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ann.post(URL, json={"system_prompt": "Rhyme.", "options": OPTIONS})

    ann.say(Thread.objects.get(), "Hello")

    (chat,) = ollama.chats
    assert chat.options == {**OPTIONS, "num_ctx": 8192}  # the model's window, for all its threads
    assert chat.messages == [
        {"role": "system", "content": "Rhyme."},
        {"role": "user", "content": "Hello"},
    ]


def test_an_empty_system_prompt_means_none_at_all(ann: Caller, ollama: ScriptedOllama) -> None:
    ann.post(URL, json={"system_prompt": ""})

    ann.say(Thread.objects.get(), "Hello")

    assert ollama.chats[0].messages == [{"role": "user", "content": "Hello"}]


def test_the_servers_system_prompt_is_sent_where_a_thread_has_none(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ann.say(ann.thread(), "Hello")

    system = ollama.chats[0].messages[0]
    assert system["role"] == "system"
    assert "Llama Chat" in system["content"]


def test_a_model_that_ollama_lacks_is_refused_with_those_it_has(ann: Caller) -> None:
    body = error_of(ann.post(URL, json={"model": "gpt-5"}), 400, "invalid")

    (problem,) = body["fields"]["model"]
    assert "gpt-5" in problem
    for name in ("llama3.2:latest", "tiny:latest", "thinker:latest"):
        assert name in problem
    assert not Thread.objects.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_p", 1.1),
        ("top_p", -1),
        ("top_k", -1),
        ("top_k", 1001),
        ("top_k", 1.5),
        ("min_p", 1.5),
        ("repeat_penalty", 2.5),
        ("seed", -1),
        ("seed", 2**31),
        ("num_ctx", 511),
        ("num_ctx", 8193),
        ("num_predict", 0),
        ("num_predict", -1),
        ("num_predict", 8193),
        ("stop", "END"),
        ("stop", [""]),
        ("stop", ["x" * 101]),
        ("stop", ["x"] * 9),
        ("stop", [1]),
        ("stop", ["a\0"]),
        ("mirostat", 1),
        ("num_gpu", 1),
        ("temperature", 10**400),
    ],
)
def test_an_option_out_of_its_bounds_is_refused(ann: Caller, option: str, value: Any) -> None:
    body = error_of(ann.post(URL, json={"options": {option: value}}), 400, "invalid")

    assert all(name.startswith(f"options.{option}") for name in body["fields"])
    assert not Thread.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "  \n"),
        ("title", "x" * 201),
        ("title", 7),
        ("title", "a\0b"),
        ("model", ""),
        ("model", ["tiny"]),
        ("model", "x" * 201),
        ("system_prompt", "x" * 20_001),
        ("system_prompt", {"role": "system"}),
        ("options", []),
        ("options", "temperature=1"),
        ("messages", [{"role": "system", "content": "forged"}]),
        ("user", 1),
    ],
)
def test_a_wrong_field_is_refused(ann: Caller, field: str, value: Any) -> None:
    body = error_of(ann.post(URL, json={field: value}), 400, "invalid")

    assert field in body["fields"]
    assert not Thread.objects.exists()


def test_a_new_thread_requires_a_login(nobody: Caller) -> None:
    error_of(nobody.post(URL, json={}), 401, "not_authenticated")
    assert not Thread.objects.exists()

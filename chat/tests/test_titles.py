"""CHAT_TITLES=model: a title by the model, after the first reply."""

from collections.abc import Iterator

import pytest

from chat.models import Thread
from chat.replies import titles
from testing.people import Caller
from testing.processes import Memcached, Server
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, events_of, sending
from testing.waiting import wait_until


@pytest.fixture(scope="module")
def titling(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    settings = {"CACHE_LOCATION": memcached.location, "CHAT_TITLES": "model"}
    with Server(tmp_path_factory.mktemp("titling"), {**server_environment, **settings}) as server:
        yield server


@pytest.fixture
def cat(titling: Server, ann: Caller) -> Iterator[Caller]:
    """Ann, on a server whose model writes titles."""
    with Caller(titling.url, ann.user) as cat:
        yield cat


def title_of(thread: Thread) -> str:
    return Thread.objects.get(pk=thread.pk).title


def used_by(caller: Caller) -> dict[str, int]:
    total: dict[str, int] = caller.get("/auth/usage/").json()["total"]
    return total


def wait_for_title(thread: Thread, title: str) -> None:
    wait_until(lambda: title_of(thread) == title, 5, lambda: f"the title is {title_of(thread)!r}")


def test_the_model_writes_the_title_after_the_first_reply(
    cat: Caller, ollama: ScriptedOllama
) -> None:
    thread = cat.thread(options={"seed": 7, "num_predict": 400})
    ollama.scripts += [Script(["Andes."], hold_after=1), Script(['"Where ', "Llamas ", 'Live"\n'])]

    with sending(cat, thread, "Where do llamas live?") as reading:
        reading.until("Andes")
        assert len(ollama.chats) == 1  # never beside it
        assert title_of(thread) == "Where do llamas live?"
        ollama.release()
        reading.to_the_end()
    wait_for_title(thread, "Where Llamas Live")

    reply, title = ollama.chats
    assert reply.ended and title.started >= reply.ended
    assert title.messages[:-1] == [
        *reply.messages,
        {"role": "assistant", "content": "Andes."},
    ]
    assert title.options == {"num_ctx": 8192, "num_predict": 32}
    assert len(ollama.loading.log) == 1, "the model was loaded anew for the title"
    assert title.body["think"] is False


def test_the_replys_end_does_not_wait_for_the_title(cat: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts += [Script(["Yes."]), Script(["Late"], hold_after=0)]
    thread = cat.thread()

    events = events_of(cat.say(thread, "Hello", headers=SSE).text)

    assert events[-1].type == "end"
    ollama.wait_for_open(1)
    assert title_of(thread) == "Hello"
    ollama.release()
    wait_for_title(thread, "Late")


def test_a_title_that_was_given_meanwhile_stays(cat: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts += [Script(["Yes."]), Script(["The model's"], hold_after=0)]
    thread = cat.thread()
    cat.say(thread, "Hello")
    ollama.wait_for_open(1)

    cat.put(f"/chat/threads/{thread.pk}/update-title/", json={"title": "Mine"})
    ollama.release()
    ollama.wait_for_open(0)
    cat.say(thread, "And?")

    assert title_of(thread) == "Mine"
    assert len(ollama.chats) == 3


def test_no_title_is_asked_for_where_there_is_one(cat: Caller, ollama: ScriptedOllama) -> None:
    thread = cat.thread(title="Mine", title_is_given=True)

    cat.say(thread, "Hello")
    cat.say(thread, "Hello")

    assert len(ollama.chats) == 2
    assert title_of(thread) == "Mine"


def test_a_failure_is_logged_and_keeps_the_first_words(
    titling: Server, cat: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts += [Script(["Yes."]), Script(status=500, error="out of memory")]
    thread = cat.thread()

    answer = cat.say(thread, "My secret")

    assert answer.text == "Yes."
    line = f"Thread {thread.pk} keeps its first words as its title"
    wait_until(lambda: line in titling.log(), 5, titling.log)
    assert title_of(thread) == "My secret"
    assert "My secret" not in titling.log()


def test_an_answer_without_a_title_keeps_the_first_words(
    cat: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts += [Script(["Yes."]), Script(["<think>\nOkay, ", "so"])]
    thread = cat.thread()

    cat.say(thread, "Hello")
    wait_until(lambda: used_by(cat)["completion_tokens"] == 1 + 2)
    cat.say(thread, "Again")

    assert title_of(thread) == "Hello"


def test_a_title_counts_as_used_but_not_as_a_reply(cat: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts += [
        Script(["Yes."], prompt_tokens=30, completion_tokens=5),
        Script(["Llamas"], prompt_tokens=50, completion_tokens=2),
    ]
    thread = cat.thread()

    cat.say(thread, "Hello")
    wait_for_title(thread, "Llamas")

    assert used_by(cat) == {"replies": 1, "prompt_tokens": 80, "completion_tokens": 7}


def test_a_failed_reply_gets_no_title(cat: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts += [Script(["Half"], then="error"), Script(["Yes."])]
    thread = cat.thread()

    cat.say(thread, "Hello", headers=SSE)
    cat.say(thread, "Again")

    assert len(ollama.chats) == 2
    assert title_of(thread) == "Hello"


def test_without_the_setting_the_model_is_not_asked(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()

    ann.say(thread, "Hello")
    ann.say(thread, "Again")

    assert len(ollama.chats) == 2


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Llamas in the Andes", "Llamas in the Andes"),
        ('  "Llamas in the Andes."\nThis title is short.', "Llamas in the Andes"),
        ("**Title: Llamas**", "Llamas"),
        ("**Title:** Llamas", "Llamas"),
        ("__Title__: Llamas", "Llamas"),
        ("Title: Llamas", "Llamas"),
        ("title: Llamas", "Llamas"),
        ("Title\uff1aLlamas", "Llamas"),
        ('"Title: Llamas"', "Llamas"),
        ("Title:\nLlamas", "Llamas"),
        ("Here is a title:\nLlamas", "Llamas"),
        ("I suggest this one:\n\n**Llamas**", "Llamas"),
        ('Sure! Here\'s a title for this conversation: "Llamas"', "Llamas"),
        ("- Llamas", "Llamas"),
        ("1. Llamas", "Llamas"),
        ("1. **Title:** Llamas\n2. Alpacas", "Llamas"),
        ("```\nLlamas\n```", "Llamas"),
        ("<think>\nOkay: a title.\n</think>\n\nLlamas", "Llamas"),
        ("Okay: a title.\n</think>\n\nLlamas", "Llamas"),
        ("<think>\nOkay, the title", ""),
        ("「羊駝」", "羊駝"),
        ("", ""),
        ("\n\n", ""),
        ('""', ""),
        ("\u200b", ""),
        ("Here is a title:", ""),
    ],
)
def test_what_models_put_around_a_title_is_left_out(answer: str, title: str) -> None:
    assert titles.clean_title(answer) == title


@pytest.mark.parametrize(
    "title",
    [
        "Title Insurance: Costs",
        "Llamas: Where They Live",
        "Where the Wild Things Are Here",
        "2. Weltkrieg",
        "-5 Degrees",
        "How <think> Tags Work",
    ],
)
def test_a_title_that_only_looks_like_an_introduction_stays(title: str) -> None:
    assert titles.clean_title(title) == title


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("word " * 30, "word " * 11 + "word…"),
        ("x" * 300, "x" * 59 + "…"),
        ("你好" * 60, "你好" * 29 + "你…"),
    ],
)
def test_a_long_title_is_cut_at_a_word_if_it_has_one(answer: str, title: str) -> None:
    assert titles.clean_title(answer) == title

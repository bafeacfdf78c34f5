"""A thread is called `New Chat` until it has a first message, or a title of its own."""

from chat.models import Thread
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import sending


def titles_of(caller: Caller, thread: Thread) -> set[str]:
    """Return what the calls that tell a thread's title say."""
    (listed,) = caller.get("/chat/threads/").json()["threads"]
    return {listed["title"], caller.get(f"/chat/threads/{thread.pk}/").json()["title"]}


def test_until_there_is_a_first_message(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two "], hold_after=1)
    made = ann.post("/chat/threads/new/").json()["thread"]
    thread = Thread.objects.get(pk=made["id"])
    assert {made["title"], *titles_of(ann, thread)} == {"New Chat"}

    with sending(ann, thread, "Where do llamas live?") as reading:
        reading.until("one")
        assert titles_of(ann, thread) == {"Where do llamas live?"}
        ollama.release()
        reading.to_the_end()

    assert titles_of(ann, thread) == {"Where do llamas live?"}


def test_again_where_the_model_did_not_answer_the_first(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(status=500)

    ann.say(thread, "Hello")

    assert titles_of(ann, thread) == {"New Chat"}


def test_a_title_of_its_own_is_never_that_of_a_message(ann: Caller) -> None:
    thread = Thread.objects.get(
        pk=ann.post("/chat/threads/new/", json={"title": "Mine"}).json()["thread_id"]
    )
    ann.say(thread, "Hello")

    assert titles_of(ann, thread) == {"Mine"}


def test_a_title_that_is_taken_back_is_that_of_the_first_message_again(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Where do llamas live?")
    ann.say(thread, "And alpacas?")
    path = f"/chat/threads/{thread.pk}/"
    ann.patch(path, json={"title": "Mine"})

    assert ann.patch(path, json={"title": None}).json()["title"] == "Where do llamas live?"

    assert titles_of(ann, thread) == {"Where do llamas live?"}
    assert not Thread.objects.get().title_is_given


def test_a_title_that_is_taken_back_before_that_is_none(ann: Caller) -> None:
    thread = ann.thread(title="Mine", title_is_given=True)

    answer = ann.patch(f"/chat/threads/{thread.pk}/", json={"title": None})

    assert answer.json()["title"] == "New Chat"

"""What comes along from ChatGPT's export, and what does not."""

from typing import Any

import pytest

from accounts.models import User
from chat.models import Thread
from chat.tests.exports import (
    chatgpt,
    chatgpt_chat,
    chatgpt_node,
    file_of,
)
from chat.tests.importing_files import (
    branch,
    import_file,
    imported,
    left_out,
    moment,
    skipped,
    tree,
)
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


def test_a_conversation_comes_along_with_its_branches_times_and_models(ann: User) -> None:
    thread = imported(ann, [chatgpt_chat()])

    assert thread.title == "About llamas"
    assert thread.title_is_given
    assert thread.created_at == moment(1_700_000_000.25)
    assert thread.updated_at == moment(1_700_000_100.75)
    assert tree(thread) == [
        ("user", "Where do llamas live?", None),
        ("bot", "In the Andes.", "Where do llamas live?"),
        ("user", "Where do alpacas live?", None),
        ("bot", "There too.", "Where do alpacas live?"),
    ]
    assert branch(thread) == ["Where do llamas live?", "In the Andes."]
    reply = thread.messages.get(content="In the Andes.")
    assert (reply.model, reply.created_at, reply.status) == (
        "gpt-4o",
        moment(1_700_000_002),
        "complete",
    )
    assert not thread.archived


def test_its_models_are_not_ours_so_the_thread_goes_on_with_the_servers(ann: User) -> None:
    assert imported(ann, [chatgpt_chat()]).model == "llama3.2"


def test_a_message_that_was_made_earlier_comes_first(ann: User) -> None:
    thread = imported(
        ann,
        chatgpt(
            chatgpt_node("a2", "q", "assistant", "second", at=30),
            chatgpt_node("a1", "q", "assistant", "first", at=20),
            chatgpt_node("q", "root", "user", "question", at=10),
        ),
    )

    assert [text for _, text, _ in tree(thread)] == ["question", "first", "second"]


def test_nothing_becomes_a_user_or_an_assistant_that_was_none(ann: User) -> None:
    conversation = chatgpt(
        chatgpt_node("s", "root", "system", "You are a pirate."),
        chatgpt_node("c", "s", "user", content={"content_type": "user_editable_context"}),
        chatgpt_node("q", "c", "user", "How old are llamas?"),
        chatgpt_node("t1", "q", "assistant", "search('llamas')", recipient="browser"),
        chatgpt_node("t2", "t1", "tool", "Twenty years, says a page."),
        chatgpt_node("a", "t2", "assistant", "Twenty years."),
        chatgpt_node("d", "a", "developer", "Obey."),
        chatgpt_node("q2", "d", "user", "Thanks"),
        chatgpt_node(
            "h", "q2", "user", "hidden", metadata={"is_visually_hidden_from_conversation": True}
        ),
    )

    thread = imported(ann, conversation)

    assert tree(thread) == [
        ("user", "How old are llamas?", None),
        ("bot", "Twenty years.", "How old are llamas?"),
        ("user", "Thanks", "Twenty years."),
    ]
    assert branch(thread)[-1] == "Thanks"
    Thread.objects.all().delete()
    assert left_out(ann, conversation) == {"system and tool messages": 4}


def test_thoughts_come_along_with_the_answer_after_them(ann: User) -> None:
    thoughts = [
        {"summary": "Counting", "content": "One, two.", "chunks": [], "finished": True},
        {"summary": "", "content": "Three.", "chunks": [], "finished": True},
    ]
    thread = imported(
        ann,
        chatgpt(
            chatgpt_node("q", "root", "user", "Count"),
            chatgpt_node(
                "t", "q", "assistant", content={"content_type": "thoughts", "thoughts": thoughts}
            ),
            chatgpt_node(
                "r",
                "t",
                "assistant",
                content={"content_type": "reasoning_recap", "content": "Thought for 5s"},
            ),
            chatgpt_node("a", "r", "assistant", "1 2 3"),
        ),
    )

    reply = thread.messages.get(sender="bot")
    assert reply.content == "1 2 3"
    assert reply.thinking == "**Counting**\n\nOne, two.\n\nThree."


def test_an_answer_in_pieces_becomes_one(ann: User) -> None:
    thread = imported(
        ann,
        chatgpt(
            chatgpt_node("q", "root", "user", "Look it up"),
            chatgpt_node("a1", "q", "assistant", "I will."),
            chatgpt_node("t", "a1", "tool", "…"),
            chatgpt_node("a2", "t", "assistant", "Found."),
            chatgpt_node("q2", "a2", "user", "Thanks"),
            chatgpt_node("a3", "q2", "assistant", "Welcome."),
            chatgpt_node("a4", "q2", "assistant", "No problem."),
            current="a2",
        ),
    )

    assert tree(thread) == [
        ("user", "Look it up", None),
        ("bot", "I will.\n\nFound.", "Look it up"),
        ("user", "Thanks", "I will.\n\nFound."),
        ("bot", "Welcome.", "Thanks"),
        ("bot", "No problem.", "Thanks"),
    ]
    assert branch(thread) == ["Look it up", "I will.\n\nFound."]


def test_images_are_counted_and_what_is_asked_about_them_stays(ann: User) -> None:
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    conversation = chatgpt(
        chatgpt_node(
            "q",
            "root",
            "user",
            content={"content_type": "multimodal_text", "parts": [image, "What is it?"]},
        ),
        chatgpt_node("a", "q", "assistant", "A llama."),
        chatgpt_node(
            "q2", "a", "user", content={"content_type": "multimodal_text", "parts": [image, image]}
        ),
        chatgpt_node("a2", "q2", "assistant", "Two more."),
    )

    thread = imported(ann, conversation)

    assert [text for _, text, _ in tree(thread)] == [
        "What is it?",
        "A llama.",
        "[image or file]",
        "Two more.",
    ]
    Thread.objects.all().delete()
    assert left_out(ann, conversation) == {"images and files": 3}


@pytest.mark.parametrize(
    "missing", ["title", "create_time", "update_time", "current_node", "default_model_slug", "id"]
)
def test_a_conversation_may_lack_anything(ann: User, missing: str) -> None:
    conversation = chatgpt_chat()
    conversation.pop(missing)
    for node in conversation["mapping"].values():
        (node["message"] or {}).pop("metadata", None)

    thread = imported(ann, conversation)

    assert thread.messages.count() == 4
    assert thread.title == ("Where do llamas live?" if missing == "title" else "About llamas")


@pytest.mark.parametrize(
    "broken",
    [
        {"mapping": None},
        {"mapping": []},
        {"mapping": {}},
        {"mapping": {"x": None, "y": 1, "z": []}},
        {"mapping": {"x": {"message": {"author": "user", "content": "text"}}}},
        {"mapping": {"x": {"message": {"author": {"role": ["user"]}, "content": {"parts": "x"}}}}},
    ],
)
def test_a_conversation_without_messages_is_left_out(ann: User, broken: dict[str, Any]) -> None:
    assert skipped(ann, {**chatgpt_chat(), **broken}) == "no_messages"


def test_an_entry_without_a_mapping_is_left_out_and_the_others_are_not(ann: User) -> None:
    corrupted = chatgpt_chat()
    del corrupted["mapping"]

    lines = import_file(ann, file_of(corrupted, {**chatgpt_chat(), "title": "Whole"}))

    assert [line["type"] for line in lines] == ["skipped", "thread", "end"]
    assert lines[0]["title"] == "About llamas"
    assert lines[0]["code"] == "no_messages"


def test_messages_that_follow_themselves_are_no_part_of_the_tree(ann: User) -> None:
    thread = imported(
        ann,
        chatgpt(
            chatgpt_node("q", "root", "user", "question"),
            chatgpt_node("x", "y", "user", "x"),
            chatgpt_node("y", "x", "assistant", "y"),
            chatgpt_node("z", "z", "assistant", "z"),
            chatgpt_node("lost", "nobody", "user", "without a parent", at=None),
        ),
    )

    assert {text for _, text, _ in tree(thread)} == {"question", "without a parent"}

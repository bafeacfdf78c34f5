"""What comes along from LibreChat's export, and what does not."""

import json
from datetime import UTC, datetime

import pytest

from accounts.models import User
from chat.models import Thread
from chat.tests.exports import (
    libre_message,
    librechat,
)
from chat.tests.importing_files import branch, import_file, imported, tree
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


def test_a_tree_of_children_comes_along(ann: User) -> None:
    thread = imported(
        ann,
        librechat(
            libre_message(
                "q",
                True,
                "Is wool warm?",
                libre_message("a1", False, "Yes.", libre_message("q2", True, "How warm?")),
                libre_message("a2", False, "Very.", createdAt="2024-04-09T14:33:00.000Z"),
            ),
            options={"model": "tiny", "promptPrefix": "Be brief."},
        ),
    )

    assert thread.title == "Wool"
    assert thread.model == "tiny"
    assert thread.system_prompt == "Be brief."
    assert thread.created_at == datetime(2024, 4, 9, 14, 32, 5, 230_000, UTC)
    assert thread.updated_at == datetime(2024, 4, 9, 14, 33, tzinfo=UTC)
    assert tree(thread) == [
        ("user", "Is wool warm?", None),
        ("bot", "Yes.", "Is wool warm?"),
        ("user", "How warm?", "Yes."),
        ("bot", "Very.", "Is wool warm?"),
    ]
    assert thread.messages.get(content="Yes.").model == "gpt-4o-mini"


def test_a_flat_list_comes_along(ann: User) -> None:
    thread = imported(
        ann,
        librechat(
            libre_message("q", True, "one"),
            libre_message("a", False, "two", parentMessageId="q", unfinished=True),
            libre_message("b", False, "three", parentMessageId="q"),
            recursive=False,
        ),
    )

    assert tree(thread) == [("user", "one", None), ("bot", "two", "one"), ("bot", "three", "one")]
    assert thread.messages.get(content="two").status == "stopped"


def test_its_older_name_for_the_tree_is_known(ann: User) -> None:
    conversation = librechat()
    del conversation["messages"]
    conversation["messagesTree"] = [libre_message("q", True, "one")]

    assert tree(imported(ann, conversation)) == [("user", "one", None)]


def test_texts_and_thoughts_in_parts_come_along(ann: User) -> None:
    parts = [
        {"type": "think", "think": "Hmm."},
        {"type": "text", "text": "One."},
        {"type": "tool_call", "tool_call": {"name": "x"}},
        {"type": "text", "text": {"value": "Two."}},
    ]
    thread = imported(
        ann, librechat(libre_message("q", True, "?", libre_message("a", False, "", content=parts)))
    )

    reply = thread.messages.get(sender="bot")
    assert (reply.content, reply.thinking) == ("One.\n\nTwo.", "Hmm.")


def test_a_conversation_of_ten_thousand_levels_comes_along(ann: User) -> None:
    levels = [
        json.dumps(libre_message(f"m{number}", number % 2 == 0, f"text {number}"))
        for number in range(10_000)
    ]
    opening = "".join(level.removesuffix("]}") for level in levels)
    content = json.dumps(librechat()).replace(
        '"messages": []', f'"messages": [{opening}{"]}" * len(levels)}]'
    )

    line, _ = import_file(ann, content.encode())

    assert line["messages"] == 10_000
    assert len(branch(Thread.objects.get())) == 10_000

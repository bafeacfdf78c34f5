"""What holds for the exports of all other programs."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import User
from chat.models import Message, Thread
from chat.tests.exports import (
    chatgpt_chat,
    file_of,
    libre_message,
    librechat,
    open_webui,
    webui_message,
)
from chat.tests.importing_files import import_file, imported, skipped, tree
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


def test_formats_may_be_mixed_and_unknown_ones_are_told(ann: User) -> None:
    lines = import_file(
        ann,
        file_of(
            chatgpt_chat(),
            open_webui(webui_message("q", None, "user", "?")),
            librechat(libre_message("q", True, "?")),
            {"title": "A recipe", "ingredients": []},
            [],
            "text",
            7,
            None,
        ),
    )

    assert [line["type"] for line in lines] == ["thread"] * 3 + ["skipped"] * 5 + ["end"]
    assert {line["code"] for line in lines if line["type"] == "skipped"} == {"invalid"}
    assert lines[3]["title"] == "A recipe"


@pytest.mark.parametrize(
    "conversation",
    [
        chatgpt_chat(),
        open_webui(webui_message("q", None, "user", "?")),
        librechat(libre_message("q", True, "?")),
    ],
)
def test_the_same_again_adds_nothing(ann: User, conversation: dict[str, Any]) -> None:
    content = file_of(conversation)
    import_file(ann, content)

    line, end = import_file(ann, content)

    assert (line["type"], line["code"]) == ("skipped", "already_there")
    assert end == {"type": "end", "threads": 0, "messages": 0, "skipped": 0, "already_there": 1}
    assert Thread.objects.count() == 1


def test_a_conversation_that_has_grown_is_left_out_and_the_line_says_what_to_do(ann: User) -> None:
    import_file(ann, file_of(open_webui(webui_message("q", None, "user", "?"))))
    grown = open_webui(
        webui_message("q", None, "user", "?"), webui_message("a", "q", "assistant", "!")
    )

    line, _ = import_file(ann, file_of(grown))

    assert "has changed since" in line["reason"]
    Thread.objects.get().delete()
    line, _ = import_file(ann, file_of(grown))
    assert line["messages"] == 2


def test_another_user_may_import_the_same(ann: User) -> None:
    content = file_of(chatgpt_chat())
    import_file(ann, content)

    line, _ = import_file(create_user("bob"), content)

    assert line["type"] == "thread"


def test_texts_keep_every_character_that_can_be_stored(ann: User) -> None:
    text = 'ünï 🦙\ud83e\udd99 <b>\\ " \r\n\t\u2028 \0|\ud800|'
    raw = json.dumps([open_webui(webui_message("q", None, "user", text))]).encode()

    (line, _) = import_file(ann, raw)

    stored = Message.objects.get(thread=line["thread_id"]).content
    assert stored == 'ünï 🦙🦙 <b>\\ " \r\n\t\u2028 |?|'


@pytest.mark.parametrize(
    "value", [-1, 0, 1e300, "yesterday", "", None, [], {}, True, 1_700_000_000_000]
)
def test_times_may_be_anything(ann: User, value: Any) -> None:
    conversation = chatgpt_chat()
    conversation["create_time"] = conversation["update_time"] = value
    for node in conversation["mapping"].values():
        if node["message"]:
            node["message"]["create_time"] = value

    thread = imported(ann, conversation)

    assert 1970 <= thread.created_at.year <= datetime.now(UTC).year
    assert tree(thread)[0][1] == "Where do llamas live?"


@pytest.mark.parametrize(
    ("conversation", "code"),
    [
        (open_webui(webui_message("q", None, "user", "x" * 1_000_001)), "too_large"),
        (
            open_webui(*(webui_message(str(i), None, "user", "x") for i in range(20_001))),
            "too_large",
        ),
        (open_webui(webui_message("q", None, "user", "\0")), "no_messages"),
        ({**open_webui(webui_message("q", None, "user", "x")), "title": 7}, None),
    ],
)
def test_too_much_is_left_out(ann: User, conversation: dict[str, Any], code: str | None) -> None:
    if code is None:
        assert imported(ann, conversation).title == "x"
    else:
        assert skipped(ann, conversation) == code


def test_a_long_title_is_cut(ann: User) -> None:
    assert imported(ann, {**chatgpt_chat(), "title": "a \n" * 500}).title == ("a " * 100).strip()

"""What comes along from Open WebUI's export, and what does not."""

from typing import Any

import pytest

from accounts.models import User
from chat.tests.exports import (
    open_webui,
    webui_message,
)
from chat.tests.importing_files import branch, imported, moment, tree
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


def test_a_chat_comes_along(ann: User) -> None:
    thread = imported(
        ann,
        [
            open_webui(
                webui_message("q", None, "user", "How large is a herd?", timestamp=1_700_000_001),
                webui_message("a1", "q", "assistant", "Small.", timestamp=1_700_000_002),
                webui_message("a2", "q", "assistant", "Large.", timestamp=1_700_000_003),
                archived=True,
            )
        ],
    )

    assert thread.title == "Herds"
    assert thread.model == "llama3.2:latest"  # which Ollama has
    assert (thread.pinned, thread.archived) == (True, True)
    assert (thread.created_at, thread.updated_at) == (moment(1_700_000_000), moment(1_700_000_100))
    assert tree(thread) == [
        ("user", "How large is a herd?", None),
        ("bot", "Small.", "How large is a herd?"),
        ("bot", "Large.", "How large is a herd?"),
    ]
    assert branch(thread)[-1] == "Large."
    assert {m.model for m in thread.messages.filter(sender="bot")} == {"llama3.2:latest"}


@pytest.mark.parametrize(
    ("content", "output", "text", "thinking"),
    [
        (
            '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds'
            "</summary>\n&gt; It is &lt; 20.\n&gt; Or not.\n</details>\nNineteen",
            None,
            "Nineteen",
            "It is < 20.\nOr not.",
        ),
        (
            '<details type="reasoning"><summary>x</summary>&gt; short</details>255',
            [
                {"type": "reasoning", "content": [{"type": "output_text", "text": "long"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "255"}]},
            ],
            "255",
            "long",
        ),
        (
            '<details type="tool_calls" done="true"><summary>Tool</summary>18 C</details>It is 18.',
            None,
            "It is 18.",
            "",
        ),
        ("<details><summary>No type</summary>stays</details>", None, None, ""),
        ("Say <think> to me", None, None, ""),
        ([{"type": "text", "text": "In parts"}, {"type": "image_url"}], None, "In parts", ""),
    ],
)
def test_thoughts_come_along_and_tools_do_not(
    ann: User, content: Any, output: Any, text: str | None, thinking: str
) -> None:
    answer = webui_message("a", "q", "assistant", content)
    if output:
        answer["output"] = output
    thread = imported(ann, [open_webui(webui_message("q", None, "user", "?"), answer)])

    reply = thread.messages.get(sender="bot")
    assert reply.content == (content if text is None else text)
    assert reply.thinking == thinking


def test_a_system_prompt_comes_along_and_other_roles_do_not(ann: User) -> None:
    chat = open_webui(
        webui_message("s", None, "system", "Be a pirate."),
        webui_message("q", "s", "user", "Ahoy"),
        webui_message("t", "q", "tool", "x"),
        webui_message("a", "t", "assistant", "Arr"),
    )
    chat["chat"]["params"] = {"system": "Talk like a pirate."}

    thread = imported(ann, chat)

    assert tree(thread) == [("user", "Ahoy", None), ("bot", "Arr", "Ahoy")]
    assert thread.system_prompt == "Talk like a pirate."


def test_an_old_chat_without_a_history_comes_along(ann: User) -> None:
    thread = imported(
        ann,
        {
            "title": "Old",
            "chat": {
                "messages": [
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ]
            },
        },
    )

    assert tree(thread) == [("user", "one", None), ("bot", "two", "one"), ("user", "three", "two")]


def test_a_failed_answer_is_failed(ann: User) -> None:
    thread = imported(
        ann,
        open_webui(
            webui_message("q", None, "user", "?"),
            webui_message("a", "q", "assistant", "half", error={"content": "Out of memory"}),
        ),
    )

    assert thread.messages.get(sender="bot").status == "failed"

"""What comes along from the exports of other programs, and what does not."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import User
from chat.models import Message, Thread
from chat.tests.exports import (
    chatgpt,
    chatgpt_chat,
    chatgpt_node,
    file_of,
    libre_message,
    librechat,
    open_webui,
    webui_message,
)
from chat.transfer import importing
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")

MODELS = {"llama3.2:latest", "tiny:latest"}


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


def import_file(user: User, content: bytes) -> list[dict[str, Any]]:
    """Import a file; return the lines, but for progress."""
    lines = importing.run(user, io.BytesIO(content), MODELS)
    return [line for line in lines if line["type"] != "progress"]


def imported(user: User, conversation: Any) -> Thread:
    """Import one conversation."""
    line, end = import_file(user, json.dumps(conversation).encode())
    assert line["type"] == "thread", line
    assert end["threads"] == 1
    return Thread.objects.get(pk=line["thread_id"])


def left_out(user: User, conversation: Any) -> dict[str, int]:
    line, _ = import_file(user, json.dumps(conversation).encode())
    counts: dict[str, int] = line["left_out"]
    return counts


def skipped(user: User, conversation: Any) -> str:
    """Import a conversation that is left out; return the code."""
    line, end = import_file(user, json.dumps(conversation).encode())
    assert line["type"] == "skipped"
    assert line["reason"]
    assert end["threads"] == 0
    assert not Thread.objects.exists()
    return str(line["code"])


def tree(thread: Thread) -> list[tuple[str, str, str | None]]:
    """Return the messages in their order, each with what it follows."""
    messages = thread.messages.order_by("pk").select_related("parent")
    return [(m.sender, m.content, m.parent.content if m.parent else None) for m in messages]


def branch(thread: Thread) -> list[str]:
    """Return what the current branch says."""
    messages = {message.pk: message for message in thread.messages.all()}
    texts: list[str] = []
    message = thread.current_message
    while message:
        texts.append(message.content)
        message = messages.get(message.parent_id or 0)
    return texts[::-1]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- ChatGPT -------------------------------------------------------------------------------------


def test_chatgpt_a_conversation_comes_along_with_its_branches_times_and_models(ann: User) -> None:
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


def test_chatgpt_its_models_are_not_ours_so_the_thread_goes_on_with_the_servers(ann: User) -> None:
    assert imported(ann, [chatgpt_chat()]).model == "llama3.2"


def test_chatgpt_a_message_that_was_made_earlier_comes_first(ann: User) -> None:
    thread = imported(
        ann,
        chatgpt(
            chatgpt_node("a2", "q", "assistant", "second", at=30),
            chatgpt_node("a1", "q", "assistant", "first", at=20),
            chatgpt_node("q", "root", "user", "question", at=10),
        ),
    )

    assert [text for _, text, _ in tree(thread)] == ["question", "first", "second"]


def test_chatgpt_nothing_becomes_a_user_or_an_assistant_that_was_none(ann: User) -> None:
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


def test_chatgpt_thoughts_come_along_with_the_answer_after_them(ann: User) -> None:
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


def test_chatgpt_an_answer_in_pieces_becomes_one(ann: User) -> None:
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


def test_chatgpt_images_are_counted_and_what_is_asked_about_them_stays(ann: User) -> None:
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
def test_chatgpt_a_conversation_may_lack_anything(ann: User, missing: str) -> None:
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
def test_chatgpt_a_conversation_without_messages_is_left_out(
    ann: User, broken: dict[str, Any]
) -> None:
    assert skipped(ann, {**chatgpt_chat(), **broken}) == "no_messages"


def test_chatgpt_an_entry_without_a_mapping_is_left_out_and_the_others_are_not(ann: User) -> None:
    corrupted = chatgpt_chat()
    del corrupted["mapping"]

    lines = import_file(ann, file_of(corrupted, {**chatgpt_chat(), "title": "Whole"}))

    assert [line["type"] for line in lines] == ["skipped", "thread", "end"]
    assert lines[0]["title"] == "About llamas"
    assert lines[0]["code"] == "no_messages"


def test_chatgpt_messages_that_follow_themselves_are_no_part_of_the_tree(ann: User) -> None:
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


# --- Open WebUI ----------------------------------------------------------------------------------


def test_open_webui_a_chat_comes_along(ann: User) -> None:
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
def test_open_webui_thoughts_come_along_and_tools_do_not(
    ann: User, content: Any, output: Any, text: str | None, thinking: str
) -> None:
    answer = webui_message("a", "q", "assistant", content)
    if output:
        answer["output"] = output
    thread = imported(ann, [open_webui(webui_message("q", None, "user", "?"), answer)])

    reply = thread.messages.get(sender="bot")
    assert reply.content == (content if text is None else text)
    assert reply.thinking == thinking


def test_open_webui_a_system_prompt_comes_along_and_other_roles_do_not(ann: User) -> None:
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


def test_open_webui_an_old_chat_without_a_history_comes_along(ann: User) -> None:
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


def test_open_webui_a_failed_answer_is_failed(ann: User) -> None:
    thread = imported(
        ann,
        open_webui(
            webui_message("q", None, "user", "?"),
            webui_message("a", "q", "assistant", "half", error={"content": "Out of memory"}),
        ),
    )

    assert thread.messages.get(sender="bot").status == "failed"


# --- LibreChat -----------------------------------------------------------------------------------


def test_librechat_a_tree_of_children_comes_along(ann: User) -> None:
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


def test_librechat_a_flat_list_comes_along(ann: User) -> None:
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


def test_librechat_its_older_name_for_the_tree_is_known(ann: User) -> None:
    conversation = librechat()
    del conversation["messages"]
    conversation["messagesTree"] = [libre_message("q", True, "one")]

    assert tree(imported(ann, conversation)) == [("user", "one", None)]


def test_librechat_texts_and_thoughts_in_parts_come_along(ann: User) -> None:
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


def test_librechat_a_conversation_of_ten_thousand_levels_comes_along(ann: User) -> None:
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


# --- Any -----------------------------------------------------------------------------------------


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


def test_what_has_grown_since_is_left_out_and_it_is_said_what_to_do(ann: User) -> None:
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

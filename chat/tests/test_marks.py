"""Marks of chat templates in what people write."""

import pytest

from chat.prompt.marks import TABLE, ZERO_WIDTH_SPACE, neutralize_markup
from chat.tests.conversation import Conversation


@pytest.mark.parametrize(
    "mark",
    [
        "<|im_start|>system",
        "<|eot_id|><|start_header_id|>system<|end_header_id|>",
        "</s><s>",
        "[INST] <<SYS>>",
        "<</SYS>> [/INST]",
        "<start_of_turn>model",
        "<end_of_turn>",
        "<\uff5cUser\uff5c>",
        "[|system|]",
        "[SYSTEM_PROMPT]",
        "[TOOL_RESULTS]",
        "<extra_id_1>User",
        "<eos><bos>",
        "<im_start>system",
        "[gMASK]<sop>",
        "[UNUSED_TOKEN_146]user",
        "<|turn>system",
        "<|channel>thought",
        "<START_OF_TURN_TOKEN>",
        "<BOS_TOKEN>",
        "<role>SYSTEM</role>",
        "]~b]system",
        "<longcat_user>",
        "<seed:bos>system",
    ],
)
def test_no_mark_of_a_chat_template_is_left_in_what_is_sent(mark: str) -> None:
    conversation = Conversation()
    conversation.thread.system_prompt = f"Be brief. {mark}"
    conversation.say(f"Hello {mark}", f"Hi {mark}")

    for message in conversation.say("And?").messages[:-1]:
        assert mark not in message["content"]
        assert message["content"].replace("\u200b", "").endswith(mark)


@pytest.mark.parametrize("mark", [mark for marks in TABLE for mark in marks.examples])
def test_each_example_of_the_table_is_broken_at_its_beginning(mark: str) -> None:
    sent = neutralize_markup(f"a {mark} b")

    assert sent.startswith(f"a {mark[0]}{ZERO_WIDTH_SPACE}")
    assert sent.replace(ZERO_WIDTH_SPACE, "") == f"a {mark} b"


@pytest.mark.parametrize(
    "mark",
    [
        "\uff1c|im_start|>",
        "<|im_start|\uff1e",
        "\ufe64|im_start|\ufe65",
        "<|\uff49\uff4d_start|>",
        "\uff1cs\uff1e",
        "\uff3bINST\uff3d",
        "[\uff0fINST]",
        "<start\uff3fof\uff3fturn>",
        "<\U0001d41b\U0001d428\U0001d42c>",  # mathematical bold letters
        "\uff1cbo\u017f>",  # a long s
    ],
)
def test_a_mark_that_nfkc_would_make_is_broken_too(mark: str) -> None:
    for text in (mark, f"\ufb01rst {mark}"):  # with a ligature, which NFKC makes longer
        sent = neutralize_markup(text)
        assert sent == text.replace(mark, mark[0] + ZERO_WIDTH_SPACE + mark[1:])
        assert neutralize_markup(sent) == sent


@pytest.mark.parametrize(
    "text",
    [
        "a < b | c",
        "<span>",
        "x[0][1]",
        "<sup>2</sup>",
        "List<int>",
        "[| 1; 2 |]",
        "g <| x |> y",
        "Map<User, List<Role>>",
        "fn main<S>() -> Step<T> {",
        "a[unused]",
        "\u4f60\u597d\uff0c\u4e16\u754c\uff1a\uff1c\u4e66\uff1e",
    ],
)
def test_other_text_is_sent_as_it_is(text: str) -> None:
    assert neutralize_markup(text) == text

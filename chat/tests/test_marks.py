"""Marks of chat templates in what people write."""

import pytest

from chat.prompt.marks import neutralize_markup
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
    ],
)
def test_no_mark_of_a_chat_template_is_left_in_what_is_sent(mark: str) -> None:
    conversation = Conversation()
    conversation.thread.system_prompt = f"Be brief. {mark}"
    conversation.say(f"Hello {mark}", f"Hi {mark}")

    for message in conversation.say("And?").messages[:-1]:
        assert mark not in message["content"]
        assert message["content"].replace("\u200b", "").endswith(mark)


@pytest.mark.parametrize(
    "text",
    ["a < b | c", "<span>", "x[0][1]", "<sup>2</sup>", "List<int>", "[| 1; 2 |]", "g <| x |> y"],
)
def test_other_text_is_sent_as_it_is(text: str) -> None:
    assert neutralize_markup(text) == text

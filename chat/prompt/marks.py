"""Control marks of chat templates, which no text of a user may contain as they are."""

import re

# What the templates of LLaMA and its relatives put between messages. Ollama does not tell such a
# mark in a text from its own, so a user could end their message and speak as somebody else.
MARKS = re.compile(
    r"<(?=[|\uff5c][^\s|\uff5c]{1,50}[|\uff5c]>|/?s>|<?/?SYS>|(?:start|end)_of_turn>"
    r"|(?:bos|eos|pad|unk|sop|eop)>|(?:extra_id|reserved|unused)_?\d+>|im_(?:start|end)>|turn\|>)"
    r"|\[(?=\|[A-Za-z_]{1,20}\|\]|/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+)\]|gMASK\]"
    r"|UNUSED_TOKEN_\d+\])",
    re.IGNORECASE,
)
ZERO_WIDTH_SPACE = "\u200b"


def neutralize_markup(text: str) -> str:
    """Return `text` with every template mark broken by an invisible character."""
    return MARKS.sub(lambda mark: mark[0] + ZERO_WIDTH_SPACE, text)

"""ChatGPT's export: `conversations.json`, a list of conversations.

Each has a `mapping` of nodes with `parent`, `children` and, in most, a `message`. Of these, system
prompts, tools and what ChatGPT tells them do not come along; thoughts belong to the answer after
them. Every field may be missing.
"""

from typing import Any

from chat.models import Sender
from chat.transfer.conversation import (
    FILES,
    ONLY_FILES,
    OTHERS,
    SENDERS,
    ImportedMessage,
    ImportedThread,
    Node,
    arrange,
    dict_of,
    id_of,
    joined,
    key_of,
    list_of,
    moment_of,
    short_text_of,
    text_of,
    title_of,
)

HIDDEN = "is_visually_hidden_from_conversation"


def is_format(item: dict[str, Any]) -> bool:
    """Return whether an object is one of ChatGPT's conversations."""
    return "mapping" in item or "default_model_slug" in item or "conversation_template_id" in item


def read(item: dict[str, Any]) -> ImportedThread:
    """Return the conversation."""
    model = short_text_of(item.get("default_model_slug"), 200)
    thread = ImportedThread(
        key=key_of("chatgpt", id_of(item.get("conversation_id") or item.get("id"))),
        title=title_of(item.get("title")),
        model=model,
        created_at=moment_of(item.get("create_time")),
        updated_at=moment_of(item.get("update_time")),
        fields={"archived": item.get("is_archived") is True},
    )
    nodes = {}
    for id, entry in dict_of(item.get("mapping")).items():
        node = dict_of(entry)
        nodes[id] = _node(id, node, model, thread)
    arrange(thread, nodes, id_of(item.get("current_node")))
    return thread


def _node(id: str, node: dict[str, Any], model: str, thread: ImportedThread) -> Node:
    parent, message = id_of(node.get("parent")), dict_of(node.get("message"))
    content, metadata = dict_of(message.get("content")), dict_of(message.get("metadata"))
    role = text_of(dict_of(message.get("author")).get("role"))
    kind = text_of(content.get("content_type"))
    if not message or metadata.get(HIDDEN) is True:
        return Node(parent)
    if kind == "thoughts" and role == "assistant":
        return Node(parent, thinking=_thoughts(content))
    text, other_parts = _text(content)
    if other_parts:
        thread.left_out[FILES] += other_parts
    if kind in ("reasoning_recap", "model_editable_context", "user_editable_context"):
        return Node(parent)
    if role not in SENDERS or message.get("recipient") not in (None, "all"):
        if text:
            thread.left_out[OTHERS] += 1
        return Node(parent)
    sender = SENDERS[role]
    if not text and other_parts and sender == Sender.USER:
        text = ONLY_FILES
    if not text:
        return Node(parent)
    return Node(
        parent,
        ImportedMessage(
            id=id,
            parent_id=None,
            sender=sender,
            content=text,
            created_at=moment_of(message.get("create_time")),
            model=short_text_of(metadata.get("model_slug"), 200) or model
            if sender == Sender.BOT
            else "",
        ),
    )


def _text(content: dict[str, Any]) -> tuple[str, int]:
    """Return the text of a message's content, and how many of its parts are none."""
    if content.get("content_type") == "code":
        return f"```\n{text_of(content.get('text'))}\n```", 0
    parts = list_of(content.get("parts"))
    texts, others = [], 0
    for part in parts:
        text = part if isinstance(part, str) else dict_of(part).get("text")
        if isinstance(text, str):
            texts.append(text_of(text))
        else:
            others += 1
    text = "\n".join(filter(None, texts)) if parts else text_of(content.get("text"))
    return text, others


def _thoughts(content: dict[str, Any]) -> str:
    text = ""
    for thought in map(dict_of, list_of(content.get("thoughts"))):
        text = joined(text, joined(_bold(thought.get("summary")), text_of(thought.get("content"))))
    return text


def _bold(value: object) -> str:
    summary = text_of(value).strip()
    return f"**{summary}**" if summary else ""

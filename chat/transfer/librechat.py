"""LibreChat's export: one conversation in each file.

Its `messages` (once called `messagesTree`) are a list, each with its parent's id, or where it is
`recursive`, each with its `children`.
"""

from typing import Any

from chat.models import MessageStatus, Sender
from chat.transfer.conversation import (
    FILES,
    ONLY_FILES,
    OTHERS,
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


def is_format(item: dict[str, Any]) -> bool:
    """Return whether an object is one of LibreChat's conversations."""
    return "conversationId" in item and ("messages" in item or "messagesTree" in item)


def read(item: dict[str, Any]) -> ImportedThread:
    """Return the conversation."""
    options = dict_of(item.get("options"))
    thread = ImportedThread(
        key=key_of("librechat", id_of(item.get("conversationId"))),
        title=title_of(item.get("title")),
        model=short_text_of(options.get("model"), 200),
    )
    if system := text_of(options.get("promptPrefix")):
        thread.fields["system_prompt"] = system
    nodes: dict[str, Node] = {}
    # With a stack instead of recursion, for which a conversation may be too deep.
    waiting: list[tuple[Any, str | None]] = [
        (message, None)
        for message in reversed(list_of(item.get("messages") or item.get("messagesTree")))
    ]
    while waiting:
        entry, above = waiting.pop()
        message = dict_of(entry)
        id = id_of(message.get("messageId")) or f"message {len(nodes)}"
        parent = above or id_of(message.get("parentMessageId"))
        if id not in nodes:
            nodes[id] = _node(id, parent, message, thread)
        waiting += [(child, id) for child in reversed(list_of(message.get("children")))]
    arrange(thread, nodes, next(reversed(nodes), None))
    moments = [message.created_at for message in thread.messages if message.created_at]
    thread.created_at, thread.updated_at = min(moments, default=None), max(moments, default=None)
    return thread


def _node(id: str, parent: str | None, message: dict[str, Any], thread: ImportedThread) -> Node:
    if files := len(list_of(message.get("files"))):
        thread.left_out[FILES] += files
    by_user = message.get("isCreatedByUser")
    if not isinstance(by_user, bool) or text_of(message.get("sender")).lower() == "system":
        thread.left_out[OTHERS] += 1
        return Node(parent)
    text, thinking = text_of(message.get("text")), ""
    for part in map(dict_of, list_of(message.get("content"))):
        kind = part.get("type")
        if kind == "text":
            value = part.get("text")
            text = joined(text, text_of(value) or text_of(dict_of(value).get("value")))
        elif kind == "think":
            value = part.get("think")
            thinking = joined(thinking, text_of(value) or text_of(dict_of(value).get("value")))
        elif kind == "tool_call":
            thread.left_out[OTHERS] += 1
        elif kind:
            thread.left_out[FILES] += 1
    if not text and files and by_user:
        text = ONLY_FILES
    if not text and not thinking:
        return Node(parent)
    status = MessageStatus.COMPLETE
    if not by_user and message.get("error") is True:
        status = MessageStatus.FAILED
    elif not by_user and message.get("unfinished") is True:
        status = MessageStatus.STOPPED
    return Node(
        parent,
        ImportedMessage(
            id=id,
            parent_id=None,
            sender=Sender.USER if by_user else Sender.BOT,
            content=text,
            created_at=moment_of(message.get("createdAt")),
            thinking=thinking,
            model="" if by_user else short_text_of(message.get("model"), 200) or thread.model,
            status=status,
        ),
    )

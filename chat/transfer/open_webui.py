"""Open WebUI's export: a list of chats.

Each has a `chat` with a `history`: `messages` by id, with `parentId`, and the `currentId`. Old ones
have a list `messages` alone. Thoughts are in a message's `output`, or at its beginning in HTML.
"""

import re
from html import unescape
from typing import Any

from chat.models import MessageStatus, Sender
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

# Blocks that the interface shows folded, with their type.
DETAILS = re.compile(
    r'<details\b[^>]*?\btype="(?P<type>\w+)"[^>]*>(?P<inside>.*?)</details>\n?', re.DOTALL
)
SUMMARY = re.compile(r"\s*<summary>.*?</summary>\n?", re.DOTALL)
QUOTED = re.compile(r"^> ?", re.MULTILINE)


def is_format(item: dict[str, Any]) -> bool:
    """Return whether an object is one of Open WebUI's chats."""
    chat = item.get("chat")
    return isinstance(chat, dict) and ("history" in chat or "messages" in chat)


def read(item: dict[str, Any]) -> ImportedThread:
    """Return the chat."""
    chat = dict_of(item["chat"])
    history = dict_of(chat.get("history"))
    models = [short_text_of(model, 200) for model in list_of(chat.get("models"))]
    thread = ImportedThread(
        key=key_of("open_webui", id_of(item.get("id") or chat.get("id"))),
        title=title_of(item.get("title") or chat.get("title")),
        model=next(filter(None, models), ""),
        created_at=moment_of(item.get("created_at") or chat.get("timestamp")),
        updated_at=moment_of(item.get("updated_at")),
        fields={
            "archived": item.get("archived") is True,
            "pinned": item.get("pinned") is True,
        },
    )
    if system := text_of(dict_of(chat.get("params")).get("system") or chat.get("system")):
        thread.fields["system_prompt"] = system
    messages = dict_of(history.get("messages"))
    if not messages:
        before = None
        for number, message in enumerate(map(dict_of, list_of(chat.get("messages")))):
            id = id_of(message.get("id")) or str(number)
            messages[id] = {"parentId": before, **message}
            before = id
    nodes = {id: _node(id, dict_of(message), thread) for id, message in messages.items()}
    arrange(thread, nodes, id_of(history.get("currentId")) or next(reversed(nodes), None))
    return thread


def _node(id: str, message: dict[str, Any], thread: ImportedThread) -> Node:
    parent, role = id_of(message.get("parentId")), text_of(message.get("role"))
    if files := len(list_of(message.get("files"))):
        thread.left_out[FILES] += files
    if role not in SENDERS:
        thread.left_out[OTHERS] += 1
        return Node(parent)
    text, thinking = _text(message), ""
    sender = SENDERS[role]
    if sender == Sender.BOT:
        text, thinking, tools = _split(text)
        output = list_of(message.get("output"))
        thinking = _output(output, "reasoning") or thinking
        text = _output(output, "message") or text
        if tools:
            thread.left_out[OTHERS] += tools
    if not text and files and sender == Sender.USER:
        text = ONLY_FILES
    if not text and not thinking:
        return Node(parent)
    model = short_text_of(message.get("model"), 200) or thread.model
    has_failed = bool(message.get("error"))
    return Node(
        parent,
        ImportedMessage(
            id=id,
            parent_id=None,
            sender=sender,
            content=text,
            created_at=moment_of(message.get("timestamp")),
            thinking=thinking,
            model=model if sender == Sender.BOT else "",
            status=MessageStatus.FAILED
            if has_failed and sender == Sender.BOT
            else MessageStatus.COMPLETE,
        ),
    )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):  # with images
        return "\n".join(filter(None, (text_of(dict_of(part).get("text")) for part in content)))
    return text_of(content)


def _split(text: str) -> tuple[str, str, int]:
    """Return an answer without its folded blocks, the thoughts in them, and how many others."""
    thinking, tools = "", 0
    for block in DETAILS.finditer(text):
        if block["type"] == "reasoning":
            inside = unescape(SUMMARY.sub("", block["inside"]))
            thinking = joined(thinking, QUOTED.sub("", inside).strip())
        else:
            tools += 1
    return (DETAILS.sub("", text).strip() if thinking or tools else text), thinking, tools


def _output(output: list[Any], kind: str) -> str:
    """Return the text of the items of this kind in an answer's output."""
    text = ""
    for item in map(dict_of, output):
        if item.get("type") == kind:
            parts = map(dict_of, list_of(item.get("content")))
            text = joined(text, "".join(text_of(part.get("text")) for part in parts))
    return text

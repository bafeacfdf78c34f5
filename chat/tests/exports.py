"""Conversations as other programs export them, in their shapes, with words of our own."""

import json
from typing import Any


def chatgpt_node(
    id: str,
    parent: str | None,
    role: str,
    *parts: Any,
    at: float | None = 1_700_000_000.5,
    content: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A node of ChatGPT's `mapping`; `content` in the place of text."""
    message = {
        "id": id,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": at,
        "update_time": None,
        "content": content or {"content_type": "text", "parts": list(parts)},
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": {"model_slug": "gpt-4o"} if role == "assistant" else {},
        "recipient": "all",
        "channel": None,
        **fields,
    }
    return {"id": id, "message": message, "parent": parent, "children": []}


def chatgpt(*nodes: dict[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    """A conversation of ChatGPT's."""
    root: dict[str, Any] = {"id": "root", "message": None, "parent": None, "children": []}
    return {
        "title": "About llamas",
        "create_time": 1_700_000_000.25,
        "update_time": 1_700_000_100.75,
        "mapping": {node["id"]: node for node in (root, *nodes)},
        "moderation_results": [],
        "current_node": current or (nodes[-1]["id"] if nodes else "root"),
        "conversation_id": "c0ffee00-0000-4000-8000-000000000001",
        "default_model_slug": "gpt-4",
        "is_archived": False,
        "plugin_ids": None,
        "id": "c0ffee00-0000-4000-8000-000000000001",
        **fields,
    }


def chatgpt_chat() -> dict[str, Any]:
    """A question of which there are two versions, and an answer to each."""
    return chatgpt(
        chatgpt_node(
            "system", "root", "system", "", metadata={"is_visually_hidden_from_conversation": True}
        ),
        chatgpt_node("q1", "system", "user", "Where do llamas live?", at=1_700_000_001),
        chatgpt_node("a1", "q1", "assistant", "In the Andes.", at=1_700_000_002),
        chatgpt_node("q2", "system", "user", "Where do alpacas live?", at=1_700_000_003),
        chatgpt_node("a2", "q2", "assistant", "There too.", at=1_700_000_004),
        current="a1",
    )


def open_webui(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A chat of Open WebUI's."""
    by_id = {message["id"]: message for message in messages}
    for message in messages:
        message.setdefault("childrenIds", [])
        if message["parentId"] in by_id:
            by_id[message["parentId"]]["childrenIds"].append(message["id"])
    return {
        "id": "11111111-2222-4333-8444-555555555555",
        "user_id": "somebody",
        "title": "Herds",
        "chat": {
            "id": "",
            "title": "Herds",
            "models": ["llama3.2:latest"],
            "params": {},
            "history": {
                "messages": by_id,
                "currentId": messages[-1]["id"] if messages else None,
            },
            "messages": list(messages),
            "tags": [],
            "timestamp": 1_700_000_000_000,
            "files": [],
        },
        "created_at": 1_700_000_000,
        "updated_at": 1_700_000_100,
        "share_id": None,
        "archived": False,
        "pinned": True,
        "meta": {},
        "folder_id": None,
        **fields,
    }


def webui_message(
    id: str, parent: str | None, role: str, content: Any, **fields: Any
) -> dict[str, Any]:
    """A message of Open WebUI's."""
    model = {"model": "llama3.2:latest", "done": True} if role == "assistant" else {}
    return {
        "id": id,
        "parentId": parent,
        "role": role,
        "content": content,
        "timestamp": 1_700_000_000,
        **model,
        **fields,
    }


def librechat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A conversation of LibreChat's."""
    return {
        "conversationId": "99999999-8888-4777-8666-555555555555",
        "endpoint": "openAI",
        "title": "Wool",
        "exportAt": "16:33:32 GMT+0200 (Central European Summer Time)",
        "branches": True,
        "recursive": True,
        "options": {"presetId": None, "model": "gpt-4o", "promptPrefix": None, "temperature": 1},
        "messages": list(messages),
        **fields,
    }


def libre_message(
    id: str, by_user: bool, text: str, *children: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    """A message of LibreChat's, with what follows it."""
    return {
        "_id": f"_{id}",
        "messageId": id,
        "__v": 0,
        "conversationId": "99999999-8888-4777-8666-555555555555",
        "createdAt": "2024-04-09T14:32:05.230Z",
        "endpoint": "openAI",
        "error": False,
        "isCreatedByUser": by_user,
        "isEdited": False,
        "model": None if by_user else "gpt-4o-mini",
        "parentMessageId": "00000000-0000-0000-0000-000000000000",
        "sender": "User" if by_user else "GPT-4",
        "text": text,
        "unfinished": False,
        "updatedAt": "2024-04-09T14:32:05.230Z",
        "user": "somebody",
        "children": list(children),
        **fields,
    }


def file_of(*conversations: Any) -> bytes:
    """A file with a list of conversations."""
    return json.dumps(list(conversations)).encode()

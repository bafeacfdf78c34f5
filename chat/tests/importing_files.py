"""What the tests of imports share: a file is imported, and what has become of it."""

import io
import json
from datetime import UTC, datetime
from typing import Any

from accounts.models import User
from chat.models import Thread
from chat.transfer import importing

MODELS = {"llama3.2:latest", "tiny:latest"}


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

"""Our own format: what `export.py` writes, as a line for each object or as one thread.

docs/transfer.md describes it. In lines, a thread's messages follow it.
"""

from typing import Any

from django.utils import timezone
from pydantic import ValidationError

from chat.models import Message, MessageStatus, Sender, Thread
from chat.schemas import Options
from chat.transfer.conversation import (
    ImportedMessage,
    ImportedThread,
    Skipped,
    dict_of,
    id_of,
    key_of,
    list_of,
    moment_of,
    text_of,
)

FORMAT = "llama-chatbot"
VERSION = 1
COUNTS = {
    "usage": ("prompt_tokens", "completion_tokens", "duration_ms", "first_token_ms"),
    "context": ("turns_kept", "turns_dropped", "characters_cut"),
}
LARGEST_COUNT = 2**31 - 1


def key_of_thread(thread: Thread) -> str:
    """Return what identifies a thread wherever it goes: the key it came with, or one made here."""
    return thread.source_key or key_of(FORMAT, thread.pk, thread.created_at.isoformat())


def is_format(item: dict[str, Any]) -> bool:
    """Return whether an object is a thread of ours."""
    return item.get("type") == "thread" and "key" in item


def is_whole(item: dict[str, Any]) -> bool:
    """Return whether the thread has its messages with it."""
    return "messages" in item


def is_known(header: dict[str, Any]) -> bool:
    """Return whether this version of the format is known here."""
    return header.get("version") == VERSION


def read(item: dict[str, Any]) -> ImportedThread:
    """Return a thread, with those messages that came with it. Raises `Skipped`."""
    expires_at, system_prompt = moment_of(item.get("expires_at")), item.get("system_prompt")
    if expires_at and expires_at < timezone.now():
        raise Skipped("expired", "It was temporary, and its time has come.")
    thread = ImportedThread(
        is_ours=True,
        key=text_of(item.get("key"))[:32],
        title=text_of(item.get("title"))[: Thread.TITLE_LENGTH],
        model=text_of(item.get("model"))[:200],
        created_at=moment_of(item.get("created_at")),
        updated_at=moment_of(item.get("updated_at")),
        current_id=id_of(item.get("current_message_id")),
        fields={
            "title_is_given": item.get("title_is_given") is True,
            "system_prompt": None if system_prompt is None else text_of(system_prompt),
            "options": _options(item.get("options")) or {},
            "pinned": item.get("pinned") is True,
            "archived": item.get("archived") is True,
            "expires_at": expires_at,
        },
    )
    for message in list_of(item.get("messages")):
        add(thread, dict_of(message))
    return thread


def add(thread: ImportedThread, item: dict[str, Any]) -> None:
    """Add a message to a thread, whose parent has come before it. Raises `Skipped`."""
    id, parent_id = id_of(item.get("id")), id_of(item.get("parent_id"))
    sender, status = item.get("sender"), item.get("status")
    if (
        id is None
        or id in thread.ids
        or (parent_id is not None and parent_id not in thread.ids)
        or sender not in Sender.values
        or status not in MessageStatus.values
    ):
        raise Skipped("invalid", "Its messages do not fit together.")
    thread.ids.add(id)
    if status == MessageStatus.GENERATING:  # by a process that knows nothing of this copy
        status = MessageStatus.INTERRUPTED
    thread.messages.append(
        ImportedMessage(
            id=id,
            parent_id=parent_id,
            sender=Sender(sender),
            content=text_of(item.get("content")),
            created_at=moment_of(item.get("created_at")),
            thinking=text_of(item.get("thinking")),
            model=text_of(item.get("model"))[:200],
            status=MessageStatus(status),
            fields=_fields(item) if sender == Sender.BOT else {},
        )
    )


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    feedback = dict_of(item.get("feedback"))
    rating = feedback.get("rating")
    fields: dict[str, Any] = {
        "options": _options(item.get("options")),
        "error_code": text_of(item.get("error_code"))[:50],
        "finish_reason": text_of(item.get("finish_reason"))[:20],
        "context_tokens": _count(dict_of(item.get("context")).get("tokens")),
    }
    for group, names in COUNTS.items():
        for name in names:
            fields[name] = _count(dict_of(item.get(group)).get(name))
    if rating in (1, -1):
        fields["rating"] = rating
        fields["rating_comment"] = text_of(feedback.get("comment"))[: Message.RATING_COMMENT_LENGTH]
        fields["rated_at"] = moment_of(feedback.get("rated_at")) or timezone.now()
    return fields


def _options(value: object) -> dict[str, Any] | None:
    """Return options that the server takes, or None."""
    try:
        return Options.model_validate(value).chosen() if isinstance(value, dict) else None
    except ValidationError:
        return None


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value <= LARGEST_COUNT else None  # type: ignore[operator, return-value]

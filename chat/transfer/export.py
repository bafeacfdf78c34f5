"""Exports what is kept of a user, and single threads, in our own format: see docs/transfer.md.

Everything is read and sent in pieces, so that the size of an account does not matter. Each piece is
a query of its own: what is written meanwhile may or may not be in it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from pydantic_core import to_json

from accounts.models import User
from chat.models import Message, Send, Thread
from chat.transfer.conversation import moment_of
from chat.transfer.own import FORMAT, VERSION, key_of_thread

PIECE_BYTES = 64 * 1024
MOST_ROWS = 500
FEW, MANY = 256 * 1024, 1024 * 1024  # characters that one query reads

Line = dict[str, Any]


def export_account(user: User) -> Iterator[bytes]:
    """Yield all that is kept of a user, as NDJSON, in pieces."""
    return pieces(to_json(line) + b"\n" for line in account_lines(user))


ACCOUNT = (
    "username",
    "email",
    "is_staff",
    "is_superuser",
    "date_joined",
    "last_login",
    "daily_tokens",
)
TOKEN = ("id", "name", "prefix", "created_at", "last_used_at", "expires_at")
USAGE = ("date", "model", "replies", "prompt_tokens", "completion_tokens")
SEND = ("key", "reply_id", "created_at")
THREAD = (
    "id",
    "title",
    "title_is_given",
    "model",
    "system_prompt",
    "options",
    "created_at",
    "updated_at",
    "pinned",
    "archived",
    "expires_at",
    "current_message_id",
)
MESSAGE = ("id", "parent_id", "sender", "content", "status", "created_at")
REPLY = ("thinking", "model", "options", "error_code", "finish_reason", "usage", "context")


def account_lines(user: User) -> Iterator[Line]:
    """Yield the lines of an account's export."""
    yield {"type": "export", "format": FORMAT, "version": VERSION, "exported_at": timezone.now()}
    yield {"type": "account", "id": user.pk, **_fields(user, ACCOUNT)}
    for session in user.session_set.all():
        data = session.get_decoded()
        yield {
            "type": "session",
            "id": session.public_id,
            **{name: moment_of(data.get(name)) for name in ("created_at", "last_seen_at")},
            **{name: data.get(name) for name in ("ip_address", "user_agent")},
            "expires_at": session.expire_date,
        }
    for token in user.tokens.order_by("pk"):
        yield {"type": "token", **_fields(token, TOKEN)}
    for used in user.usage.order_by("date", "model").iterator():
        yield {"type": "usage", **_fields(used, USAGE)}
    for send in Send.objects.filter(user=user).order_by("pk").iterator():
        yield {"type": "idempotency_key", **_fields(send, SEND)}
    threads = messages = 0
    for thread in by_key(user.threads.all(), few=100):
        yield {"type": "thread", **thread_fields(thread)}
        number = 0
        for message in messages_of(thread):
            yield {"type": "message", "thread_id": thread.pk, **message_fields(message)}
            number += 1
        yield {"type": "thread_end", "id": thread.pk, "messages": number}
        threads, messages = threads + 1, messages + number
    yield {"type": "end", "threads": threads, "messages": messages}


def export_thread(thread: Thread) -> Iterator[bytes]:
    """Yield one thread with its whole tree, as one JSON object, in pieces."""
    return pieces(_thread_object(thread))


def _thread_object(thread: Thread) -> Iterator[bytes]:
    head = {"format": FORMAT, "version": VERSION, "exported_at": timezone.now(), "type": "thread"}
    yield to_json({**head, **thread_fields(thread)})[:-1] + b',"messages":['
    separator = b""
    for message in messages_of(thread):
        yield separator + to_json(message_fields(message))
        separator = b","
    yield b"]}\n"


def thread_fields(thread: Thread) -> Line:
    """Return what a thread's line has."""
    return {**_fields(thread, THREAD), "key": key_of_thread(thread)}


def message_fields(message: Message) -> Line:
    """Return what a message's line has."""
    fields = _fields(message, MESSAGE)
    if message.is_reply:
        fields |= _fields(message, REPLY)
        if message.feedback:
            fields["feedback"] = message.feedback
    return fields


def messages_of(thread: Thread) -> Iterator[Message]:
    """Yield all messages of a thread, the oldest first: parents before what follows them."""
    return by_key(Message.objects.filter(thread=thread), few=10)


def by_key(rows: QuerySet[Any], few: int) -> Iterator[Any]:
    """Yield rows by their keys, in queries of `few` to `MOST_ROWS`: fewer where texts are long."""
    after, limit = 0, few
    while found := list(rows.filter(pk__gt=after).order_by("pk")[:limit]):
        yield from found
        if len(found) < limit:
            break
        after = found[-1].pk
        size = sum(len(getattr(row, "content", "")) for row in found)
        if size > MANY:
            limit = max(1, limit // 4)
        elif size < FEW:
            limit = min(2 * limit, MOST_ROWS)


def pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines into pieces that are worth sending."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _fields(row: object, names: Iterable[str]) -> Line:
    return {name: getattr(row, name) for name in names}

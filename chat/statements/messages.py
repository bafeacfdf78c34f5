"""Statements that read, store and delete messages."""

from collections.abc import Sequence
from typing import Any

from django.db import connection, connections

from chat.models import Message, MessageStatus, Thread
from core import sql


def _fields_of_messages(*names: str) -> list[str]:
    """Return the columns of these fields, in the order in which `from_db` wants them."""
    return [field.attname for field in Message._meta.concrete_fields if field.name in names]


# Django takes six times as long as the database to read a branch with all of its columns.
FIELDS_OF_A_PARENT = _fields_of_messages(
    *("id", "thread", "parent", "sender", "content", "status", "created_at", "heartbeat_at"),
    *("instructions", "context_start", "context_key"),
)


FIELDS_OF_A_PATH = _fields_of_messages(
    *("id", "sender", "content", "thinking", "status", "model", "tokens", "estimator"),
    *("prompt_tokens", "completion_tokens", "context_start", "context_key"),
    *("turns_kept", "turns_dropped"),
)


def find_message(thread: Thread, message_id: int | None) -> Message | None:
    """Return a message of a thread, or its newest without an id, as if read `with_silence`.

    With those of its fields that count for a message that follows it.
    """
    which, keys = "ORDER BY id DESC LIMIT 1", [thread.pk]
    if message_id is not None:
        which, keys = "AND id = %s", [thread.pk, message_id]
    columns = ", ".join(FIELDS_OF_A_PARENT)
    statement = f"SELECT {columns}, {sql.now()} FROM chat_message WHERE thread_id = %s {which}"  # noqa: S608  # nosec B608
    for *values, read_at in sql.rows(statement, *keys):
        message = Message.from_db(connection.alias, FIELDS_OF_A_PARENT, values)
        message.created_at = sql.as_time(message.created_at)
        if message.heartbeat_at:
            message.heartbeat_at = sql.as_time(message.heartbeat_at)
        heard_at = message.heartbeat_at or message.created_at
        message.silent_for = sql.as_time(read_at) - heard_at  # type: ignore[attr-defined]
        return message
    return None


def path_back(end: Message, *, oldest: int, tokens: int) -> list[Message]:
    """Return the messages of a branch up to `end`, oldest first, in one query.

    With those of their fields that count for a prompt. None with an id below `oldest`, and none
    before those that have more than `tokens` in sum; one that was never sized counts a token for
    each character. Each message has one parent, which is older, so editing or asking again makes a
    branch.
    """
    columns = ", ".join(f"m.{name}" for name in FIELDS_OF_A_PATH)
    rows = sql.rows(
        f"""
        WITH RECURSIVE path(id, parent_id, tokens) AS (
            SELECT id, parent_id, COALESCE(tokens, LENGTH(content))
            FROM chat_message WHERE id = %s
            UNION ALL
            SELECT m.id, m.parent_id, path.tokens + COALESCE(m.tokens, LENGTH(m.content))
            FROM chat_message m JOIN path ON m.id = path.parent_id
            WHERE m.id >= %s AND path.tokens <= %s)
        SELECT {columns} FROM path JOIN chat_message m ON m.id = path.id ORDER BY m.id""",  # noqa: S608  # nosec B608
        end.pk,
        oldest,
        tokens,
    )
    names = frozenset(FIELDS_OF_A_PATH)  # Django looks for each of Message's fields in it
    return [Message.from_db(connection.alias, names, row) for row in rows]


# `heartbeat_at` is the database's time.
FIELDS_OF_A_NEW_MESSAGE = [
    field for field in Message._meta.concrete_fields if field.attname not in ("id", "heartbeat_at")
]


def insert_message(**values: Any) -> Message:
    """Create a message; one that is being written gets its first heartbeat with it.

    Each value is prepared by its field, as the ORM does it: what is saved is to build a statement
    with so many columns, which was a third of the CPU time of a send.
    """
    message = Message(finish_reason="", **values)
    database = connections[connection.alias]  # itself: the proxy looks for it at each use
    prepared = [
        field.get_db_prep_save(field.pre_save(message, True), database)
        for field in FIELDS_OF_A_NEW_MESSAGE
    ]
    columns = ", ".join(f'"{field.attname}"' for field in FIELDS_OF_A_NEW_MESSAGE)
    heartbeat = sql.now() if message.status == MessageStatus.GENERATING else "NULL"
    (message.pk,) = sql.column(
        f"INSERT INTO chat_message ({columns}, heartbeat_at)"  # noqa: S608  # nosec B608
        f" VALUES ({sql.placeholders(prepared)}, {heartbeat}) RETURNING id",
        *prepared,
    )
    message._state.adding, message._state.db = False, connection.alias
    return message


def delete_messages(ids: Sequence[int]) -> None:
    """Delete messages to which no others refer.

    The ORM would look for the messages that follow each, and for those that follow them, one level
    of recursion a message. Rows are locked in the order of ids, as by all others.
    """
    these = f"FROM chat_message WHERE id IN ({sql.placeholders(ids)})"
    if connection.vendor == "postgresql":
        sql.execute(f"SELECT 1 {these} ORDER BY id FOR UPDATE", *ids)  # nosec B608
    sql.execute(f"DELETE {these}", *ids)  # nosec B608

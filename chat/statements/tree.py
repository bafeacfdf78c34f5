"""Statements about the tree that a thread's messages are."""

from collections.abc import Iterable

from django.db import connection

from chat.models import Message
from core import sql


def page_of_branch(thread_id: int, end_id: int, limit: int) -> list[Message]:
    """Return up to `limit` messages of a branch of this thread, from its end back."""
    return list(
        Message.objects.raw(
            """
            WITH RECURSIVE path(id, parent_id, number) AS (
                SELECT id, parent_id, 1 FROM chat_message WHERE id = %s AND thread_id = %s
                UNION ALL
                SELECT m.id, m.parent_id, number + 1
                FROM chat_message m JOIN path ON m.id = path.parent_id WHERE number < %s)
            SELECT m.* FROM path JOIN chat_message m ON m.id = path.id ORDER BY m.id DESC""",
            [end_id, thread_id, limit],
        )
    )


def ids_below(thread_id: int, message_id: int) -> list[int]:
    """Return the ids of a message of this thread and of all that follow it, the oldest first."""
    return sql.column(
        """
        WITH RECURSIVE below(id) AS (
            SELECT id FROM chat_message WHERE id = %s AND thread_id = %s
            UNION ALL
            SELECT m.id FROM chat_message m JOIN below ON m.parent_id = below.id)
        SELECT id FROM below ORDER BY id""",
        message_id,
        thread_id,
    )


def newest_below(thread_id: int, message_id: int | None, *, but: int | None = None) -> int | None:
    """Return the newest message that follows this one, or itself: the end of a branch.

    None where it is not one of this thread's. `message_id` is None for the whole thread. The
    message `but` is left out with all that follow it.
    """
    anchor = "parent_id IS NULL" if message_id is None else "id = %s"
    newest: int | None
    (newest,) = sql.column(
        f"""
        WITH RECURSIVE below(id) AS (
            SELECT id FROM chat_message WHERE thread_id = %s AND id <> %s AND {anchor}
            UNION ALL
            SELECT m.id FROM chat_message m JOIN below ON m.parent_id = below.id WHERE m.id <> %s)
        SELECT MAX(id) FROM below""",  # noqa: S608  # nosec B608
        thread_id,
        but or 0,
        *([] if message_id is None else [message_id]),
        but or 0,
    )
    return newest


NOT_COPIED = {
    "id",
    "thread",
    "parent",
    "context_start",
    "owner",
    "takeovers",
    "rewind_offset",
    "heartbeat_at",
    "followed_at",
    "unread_since",
    "rating",
    "rating_comment",
    "rated_at",
}


def copy_path(thread_id: int, end_id: int, copy_id: int) -> None:
    """Copy the messages up to `end_id` into the thread `copy_id`, which has none yet.

    No process writes the copies, nobody has rated them, and their prompts began in another thread.
    """
    columns = ", ".join(
        connection.ops.quote_name(str(field.column))
        for field in Message._meta.concrete_fields
        if field.name not in NOT_COPIED
    )
    sql.execute(
        f"""
        INSERT INTO chat_message (thread_id, owner, takeovers, rating_comment, {columns})
        WITH RECURSIVE path(id, parent_id) AS (
            SELECT id, parent_id FROM chat_message WHERE id = %s AND thread_id = %s
            UNION ALL
            SELECT m.id, m.parent_id FROM chat_message m JOIN path ON m.id = path.parent_id)
        SELECT %s, '', 0, '', {columns}
        FROM chat_message WHERE id IN (SELECT id FROM path) ORDER BY id""",  # noqa: S608  # nosec B608
        end_id,
        thread_id,
        copy_id,
    )
    sql.execute(
        """
        UPDATE chat_message SET parent_id = (
            SELECT MAX(m.id) FROM chat_message m
            WHERE m.thread_id = %s AND m.id < chat_message.id)
        WHERE thread_id = %s""",
        copy_id,
        copy_id,
    )


def set_parents(parents: Iterable[tuple[int, int]]) -> None:
    """Have messages follow others: pairs of a message's id and its parent's."""
    sql.execute_many(
        "UPDATE chat_message SET parent_id = %s WHERE id = %s",
        [(parent, message) for message, parent in parents],
    )

"""Statements about threads, and about what has happened to them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import models
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat.models import Message, Thread, ThreadEvent
from core import paging, sql


def get_thread(user: User, thread_id: int) -> Thread:
    """Return one of the user's threads. Raises `Http404`."""
    if thread_id <= models.BigIntegerField.MAX_BIGINT:
        for thread in Thread.objects.raw(
            "SELECT * FROM chat_thread WHERE id = %s AND user_id = %s AND deleted_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > %s)",
            [thread_id, user.pk, sql.to_database(timezone.now())],
        ):
            return thread
    raise Http404


PREVIEW_LENGTH = 120  # characters


# What a list has of a thread `t`. Its last message may have no word yet: then the one before it is
# shown.
THREAD_IN_LIST = f"""
    t.id, t.user_id, t.title, t.model, t.created_at, t.updated_at, t.pinned, t.archived,
    t.expires_at,
    (SELECT m.id FROM chat_message m
        WHERE m.thread_id = t.id AND m.status = 'generating') AS running_reply_id,
    COALESCE(
        (SELECT CASE m.content WHEN '' THEN (
                SELECT SUBSTR(p.content, 1, {PREVIEW_LENGTH}) FROM chat_message p
                WHERE p.id = m.parent_id)
            ELSE SUBSTR(m.content, 1, {PREVIEW_LENGTH}) END
        FROM chat_message m
        WHERE m.id = COALESCE(t.current_message_id, (
            SELECT MAX(n.id) FROM chat_message n WHERE n.thread_id = t.id))),
        '') AS preview"""  # noqa: S608 # nosec B608


def page_of_threads(
    user: User, limit: int, cursor: str, *, archived: bool
) -> tuple[Sequence[Thread], str | None]:
    """Return up to `limit` of the user's threads, and the next cursor.

    The pinned ones come first, then the newest activity. Each has its `running_reply_id` and its
    `preview`, and nothing that the list leaves out: the system prompt and the options.
    """
    before, parameters = "", [user.pk, archived, sql.to_database(timezone.now()), limit + 1]
    if cursor:
        pinned, updated_at, pk = paging.decode(cursor, user)
        before = "AND (pinned, updated_at, id) < (%s, %s, %s)"
        parameters[3:3] = pinned, sql.to_database(datetime.fromisoformat(updated_at)), pk
    threads = Thread.objects.raw(
        f"SELECT {THREAD_IN_LIST} FROM ("  # noqa: S608  # nosec B608
        " SELECT * FROM chat_thread WHERE user_id = %s AND deleted_at IS NULL AND archived = %s"
        f" AND (expires_at IS NULL OR expires_at > %s) {before}"
        " ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT %s) t"
        " ORDER BY pinned DESC, updated_at DESC, id DESC",
        parameters,
    )
    return paging.page(threads, limit, user, lambda t: (t.pinned, str(t.updated_at), t.pk))


def threads_in_list(ids: Sequence[int]) -> list[Thread]:
    """Return those of these threads that there are, each as in a list."""
    if not ids:
        return []
    return list(
        Thread.objects.raw(
            f"SELECT {THREAD_IN_LIST} FROM chat_thread t WHERE deleted_at IS NULL"  # noqa: S608  # nosec B608
            f" AND (expires_at IS NULL OR expires_at > %s) AND id IN ({sql.placeholders(ids)})",
            [sql.to_database(timezone.now()), *ids],
        )
    )


def record_activity(thread: Thread, title: str, now: datetime, *, only_if_unmoved: bool) -> bool:
    """Set a thread's last activity, and its title where it has none; return whether it was there.

    `only_if_unmoved` demands that its current branch still ends where it did when it was read.
    """
    statement = """
        UPDATE chat_thread SET updated_at = %s, title = COALESCE(NULLIF(title, ''), %s)
        WHERE id = %s AND deleted_at IS NULL"""
    if not only_if_unmoved:
        return bool(sql.execute(statement, now, title, thread.pk))
    if thread.current_message_id is None:
        return bool(
            sql.execute(f"{statement} AND current_message_id IS NULL", now, title, thread.pk)
        )
    return bool(
        sql.execute(
            f"{statement} AND current_message_id = %s",
            now,
            title,
            thread.pk,
            thread.current_message_id,
        )
    )


def set_current_message(thread: Thread, message: Message) -> None:
    """Have the thread's current branch end in a message."""
    statement = "UPDATE chat_thread SET current_message_id = %s WHERE id = %s"
    sql.execute(statement, message.pk, thread.pk)


def insert_events(events: Iterable[ThreadEvent]) -> None:
    """Store what has happened to threads, at the database's time."""
    sql.execute_many(
        "INSERT INTO chat_threadevent (user_id, kind, thread_id, reply_id, status)"
        " VALUES (%s, %s, %s, %s, %s)",
        [
            (event.user_id, event.kind, event.thread_id, event.reply_id, event.status)
            for event in events
        ],
    )

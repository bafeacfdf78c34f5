"""Hand-written SQL for the hot path, each statement with an ORM twin in a test.

The ORM builds each statement again for each call, which costs three to ten times as much as running
it: that was half of the CPU time of a send. `docs/performance.md` has the figures.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from django.db import connection, connections, models
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat.models import Message, MessageStatus, Thread, ThreadEvent
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


def set_parents(parents: Iterable[tuple[int, int]]) -> None:
    """Have messages follow others: pairs of a message's id and its parent's."""
    sql.execute_many(
        "UPDATE chat_message SET parent_id = %s WHERE id = %s",
        [(parent, message) for message, parent in parents],
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


def delete_messages(ids: Sequence[int]) -> None:
    """Delete messages to which no others refer.

    The ORM would look for the messages that follow each, and for those that follow them, one level
    of recursion a message. Rows are locked in the order of ids, as by all others.
    """
    these = f"FROM chat_message WHERE id IN ({sql.placeholders(ids)})"
    if connection.vendor == "postgresql":
        sql.execute(f"SELECT 1 {these} ORDER BY id FOR UPDATE", *ids)  # nosec B608
    sql.execute(f"DELETE {these}", *ids)  # nosec B608


def save_reply_end(reply: Message, owner: str, *, only_if_generating: bool) -> bool:
    """Store the final state of a reply's row, if it is its owner's; return whether it was."""
    statement = """
        UPDATE chat_message SET status = %s, content = %s, thinking = %s, error_code = %s,
            prompt_tokens = %s, completion_tokens = %s, duration_ms = %s, first_token_ms = %s,
            finish_reason = %s, tokens = %s, estimator = %s, format_valid = %s,
            heartbeat_at = NULL
        WHERE id = %s AND owner = %s"""
    values = (
        reply.status,
        reply.content,
        reply.thinking,
        reply.error_code,
        reply.prompt_tokens,
        reply.completion_tokens,
        reply.duration_ms,
        reply.first_token_ms,
        reply.finish_reason,
        reply.tokens,
        reply.estimator,
        reply.format_valid,
        reply.pk,
        owner,
    )
    if only_if_generating:
        return bool(sql.execute(f"{statement} AND status = %s", *values, MessageStatus.GENERATING))
    return bool(sql.execute(statement, *values))


def save_heartbeats(ids: Sequence[int], owner: str) -> None:
    """Store that the owner's running replies of these ids are still being written.

    Their rows are locked in the order of ids, as whoever else locks several of them does.
    """
    if not ids:
        return
    mine = "SELECT id FROM chat_message WHERE status = %s AND owner = %s"
    mine += f" AND id IN ({sql.placeholders(ids)})"
    if connection.vendor == "postgresql":
        mine += " ORDER BY id FOR NO KEY UPDATE"
    sql.execute(
        f"UPDATE chat_message SET heartbeat_at = {sql.now()} WHERE id IN ({mine})",  # noqa: S608  # nosec B608
        MessageStatus.GENERATING,
        owner,
        *ids,
    )


def save_texts(texts: Iterable[tuple[int, str, str, int]], owner: str) -> None:
    """Store the text, thinking and number of tokens of the owner's running replies, by id.

    New text is progress, so take-overs are counted from 0 again. One statement, run for each of
    them: the ORM's `bulk_update` would compare every row with every id.
    """
    sql.execute_many(
        "UPDATE chat_message SET content = %s, thinking = %s, completion_tokens = %s,"
        " takeovers = 0 WHERE id = %s AND status = %s AND owner = %s",
        [
            (text, thinking, tokens, pk, MessageStatus.GENERATING, owner)
            for pk, text, thinking, tokens in texts
        ],
    )


def add_usage(
    user_id: int,
    day: date,
    model: str,
    *,
    replies: int,
    prompt_tokens: int,
    completion_tokens: int,
) -> bool:
    """Add to what a user has used of a model on a day; return whether there was a row for it."""
    statement = """
        UPDATE chat_usage SET replies = replies + %s, prompt_tokens = prompt_tokens + %s,
            completion_tokens = completion_tokens + %s
        WHERE user_id = %s AND date = %s AND model = %s"""
    values = (replies, prompt_tokens, completion_tokens, user_id, day, model)
    return bool(sql.execute(statement, *values))


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


def turns() -> list[tuple[Any, ...]]:
    """Return all calls to models that wait for their turn or have it, the oldest first.

    Of each: id, user, reply, conversation, model, host and owner; the status and the thread of the
    reply; then times: since when it waits in its turn, when the owner was last heard of, and now.
    """
    later = "GREATEST" if connection.vendor == "postgresql" else "MAX"
    rows = sql.rows(
        f"""
        SELECT t.id, t.user_id, t.reply_id, t.conversation, t.model, t.host, t.owner,
            m.status, m.thread_id,
            {later}(t.queued_at, COALESCE(t.passed_at, t.queued_at)), w.seen_at, {sql.now()}
        FROM chat_turn t
        LEFT JOIN chat_message m ON m.id = t.reply_id
        LEFT JOIN chat_worker w ON w.name = t.owner
        ORDER BY t.queued_at, t.id"""  # noqa: S608  # nosec B608
    )
    return [(*row[:9], *(time and sql.as_time(time) for time in row[9:])) for row in rows]

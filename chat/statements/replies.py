"""Statements about replies: how far they are, whose turn it is, and what they have used."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from django.db import connection

from chat.models import Message, MessageStatus
from core import sql


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

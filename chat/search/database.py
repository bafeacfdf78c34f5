"""The index in the database: what makes it, and the SQL that reads it.

A message's row in `MessageTerms` has the beginnings of its words, once each; a title's in
`TitleTerms`. The index of these is SQLite's FTS5 or PostgreSQL's GIN. In it each term begins with
the number of its user: so a search reads nothing of others', however many there are, and looks up a
single letter that somebody has typed as fast as a word.

Triggers queue what has changed, whoever has changed it, and the database deletes the terms of what
is deleted. They are no part of the migrations: SQLite drops them where Django remakes a table, so
`install` is called after each `migrate`.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from chat.search.query import Query
from core import sql

# Longer beginnings find fewer texts that do not have the word, and take more room: PostgreSQL has
# 30 bytes around each term of each user. docs/performance.md has what each length costs.
TERM_LENGTH = {"sqlite": 8, "postgresql": 3}
MAX_TERMS_OF_A_QUERY = 100
MESSAGE_TERMS, TITLE_TERMS = "chat_messageterms", "chat_titleterms"


class Candidate(NamedTuple):
    """A text that has the beginnings of all words, and its length; None where it is hidden."""

    pk: int
    length: int | None


def install() -> None:
    """Make the index and what keeps it true; a new one gets all texts queued."""
    with connection.cursor() as cursor:
        if MESSAGE_TERMS not in connection.introspection.table_names(cursor):
            return  # as before the migration that makes it
        catalogue = {"sqlite": "sqlite_master WHERE name", "postgresql": "pg_class WHERE relname"}
        cursor.execute(
            f"SELECT 1 FROM {catalogue[connection.vendor]} = '{MESSAGE_TERMS}_index'"  # noqa: S608  # nosec B608
        )
        is_new = cursor.fetchone() is None
        script = Path(__file__).with_name(f"{connection.vendor}.sql").read_text()
        for statement in _split(script) if connection.vendor == "sqlite" else [script]:
            cursor.execute(statement)
    if is_new:
        queue_titles(0, 2**62)
        queue_messages(0, 2**62)


def _split(script: str) -> list[str]:
    """Return the statements of a script, of which SQLite takes one at a time."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements


def queue_messages(after: int, until: int) -> None:
    """Queue the messages whose id is in this range, the first excluded."""
    sql.execute(
        """
        INSERT INTO chat_unindexedtext (thread_id, message_id)
        SELECT thread_id, id FROM chat_message
        WHERE status <> 'generating' AND id > %s AND id <= %s""",
        after,
        until,
    )


def queue_titles(after: int, until: int) -> None:
    """Queue the titles of the threads whose id is in this range, the first excluded."""
    sql.execute(
        """
        INSERT INTO chat_unindexedtext (thread_id)
        SELECT id FROM chat_thread WHERE title <> '' AND id > %s AND id <= %s""",
        after,
        until,
    )


def term_length() -> int:
    """Return how many characters of a word the index has."""
    return TERM_LENGTH[connection.vendor]


def message_candidates(user_id: int, query: Query, below: int, limit: int) -> list[Candidate]:
    """Return up to `limit` messages with ids below `below` that may be hits, the newest first."""
    return _candidates(
        user_id,
        query,
        below,
        limit,
        MESSAGE_TERMS,
        "message_id",
        "chat_message m ON m.id = newest.id LEFT JOIN chat_thread t ON t.id = m.thread_id",
        "m.content",
    )


def title_candidates(user_id: int, query: Query, below: int, limit: int) -> list[Candidate]:
    """Return up to `limit` threads with ids below `below` whose titles may be hits."""
    return _candidates(
        user_id,
        query,
        below,
        limit,
        TITLE_TERMS,
        "thread_id",
        "chat_thread t ON t.id = newest.id",
        "t.title",
    )


def _candidates(
    user_id: int,
    query: Query,
    below: int,
    limit: int,
    terms: str,
    key: str,
    joined: str,
    text: str,
) -> list[Candidate]:
    if connection.vendor == "sqlite":
        newest = f"""
            newest AS (
                SELECT rowid AS id FROM {terms}_index
                WHERE {terms}_index MATCH %s AND rowid < %s ORDER BY rowid DESC LIMIT %s)"""  # noqa: S608  # nosec B608
        length = f"LENGTH({text})"
    else:
        # Materialized, or PostgreSQL might go through all messages from the newest on.
        newest = f"""
            found AS MATERIALIZED (
                SELECT {key} AS id FROM {terms}
                WHERE array_to_tsvector(string_to_array(
                    user_id::text || ':' || replace(terms, ' ', ' ' || user_id::text || ':'), ' '))
                    @@ %s::tsquery AND {key} < %s),
            newest AS MATERIALIZED (SELECT id FROM found ORDER BY id DESC LIMIT %s)"""  # noqa: S608  # nosec B608
        length = f"OCTET_LENGTH({text})"
    statement = f"""
        WITH {newest}
        SELECT newest.id, CASE WHEN t.user_id = %s AND t.deleted_at IS NULL
            AND (t.expires_at IS NULL OR t.expires_at > %s) THEN {length} END
        FROM newest LEFT JOIN {joined} ORDER BY newest.id DESC"""  # noqa: S608  # nosec B608
    rows = sql.rows(statement, _match(user_id, query), below, limit, user_id, timezone.now())
    return [Candidate(*row) for row in rows]


def _match(user_id: int, query: Query) -> str:
    """Return what the index is asked for: the beginnings of all words of the query."""
    length = term_length()
    prefixes: set[str] = set()
    terms: set[str] = set()
    for part in query.parts:
        *whole, last = part.words
        terms |= {f"{user_id}:{word[:length]}" for word in whole}
        # A term that is cut off stands for all that begin so.
        is_prefix = part.unfinished and len(last) < length
        (prefixes if is_prefix else terms).add(f"{user_id}:{last[:length]}")
    if connection.vendor == "sqlite":
        words = [f'"{term}"' for term in terms] + [f'"{prefix}" *' for prefix in prefixes]
        return " AND ".join(words[:MAX_TERMS_OF_A_QUERY])
    words = [f"'{term}'" for term in terms] + [f"'{prefix}':*" for prefix in prefixes]
    return " & ".join(words[:MAX_TERMS_OF_A_QUERY])

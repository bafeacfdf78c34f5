"""Rows for the tests of statements, with a value in every field."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection

from accounts.models import User
from chat.models import Message, Sender, Thread
from core import sql
from testing.people import create_user

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


LONG = "long \U0001f999 'quoted' \\ %s " * 200


def full_thread(ann: User) -> Thread:
    """Return a thread that uses every field, with one of Ann's and one of Bob's beside it."""
    Thread.objects.create(user=create_user("bob"), model="tiny", title="Bob's")
    Thread.objects.create(user=ann, model="tiny", title="Another")
    return Thread.objects.create(
        user=ann, model="llama3.2", title="100 %s", system_prompt=LONG, options={"stop": ["%s"]}
    )


def reply(thread: Thread, **fields: Any) -> Message:
    """Store a question and a reply to it."""
    question = thread.messages.create(sender=Sender.USER, content="Hello?")
    return thread.messages.create(
        sender=Sender.BOT, parent=question, model="tiny", heartbeat_at=NOW, **fields
    )


def repeat(message: Message, times: int) -> None:
    """Store copies of a message, by one statement: the ORM takes minutes for 100,000."""
    columns = ", ".join(
        connection.ops.quote_name(str(field.column))
        for field in Message._meta.concrete_fields
        if not field.primary_key
    )
    sql.execute(
        f"""
        INSERT INTO chat_message ({columns})
        WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)
        SELECT {columns} FROM chat_message CROSS JOIN numbers WHERE id = %s""",  # noqa: S608
        times,
        message.pk,
    )

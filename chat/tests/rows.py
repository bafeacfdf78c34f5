"""Rows for the tests of statements, with a value in every field."""

from datetime import UTC, datetime
from typing import Any

from accounts.models import User
from chat.models import Message, Sender, Thread
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

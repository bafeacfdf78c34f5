"""Each statement that inserts, beside its ORM twin, on SQLite and on PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import Message, MessageStatus, Sender, Thread, ThreadEvent
from chat.replies.lifecycle import silence_of
from chat.tests.rows import LONG, NOW, full_thread, reply
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")

OWNER = "a-machine/1/0123abcd"


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return full_thread(ann)


EVERY_FIELD: dict[str, Any] = {
    "thinking": LONG,
    "model": "tiny",
    "options": {"stop": ["%s"], "seed": 1},
    "instructions": "",
    "in_background": True,
    "format": {"type": "object"},
    "format_valid": False,
    "error_code": "model_timeout",
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "duration_ms": 3,
    "first_token_ms": 4,
    "context_start": 2**40,
    "context_key": "0123456789abcdef",
    "context_tokens": 5,
    "turns_kept": 6,
    "turns_dropped": 7,
    "characters_cut": 8,
    "owner": OWNER,
    "takeovers": 9,
    "rewind_offset": 10,
    "followed_at": NOW,
    "unread_since": NOW,
    "rating": -1,
    "rating_comment": LONG,
    "rated_at": NOW,
}


@pytest.mark.parametrize("fields", [{}, {"format": "json"}, EVERY_FIELD], ids=len)
def test_insert_message_stores_every_field_as_the_orm_does(
    thread: Thread, fields: dict[str, Any]
) -> None:
    parent = reply(thread)
    fields = {
        "thread": thread,
        "parent": parent,
        "sender": Sender.BOT,
        "content": LONG,
        "created_at": NOW,
        "tokens": 3,
        "estimator": 1,
        **fields,
    }

    made = statements.insert_message(**fields)

    twin = Message.objects.create(**fields)
    assert (made.pk, made.thread, made.parent) == (parent.pk + 1, thread, parent)
    found, expected = Message.objects.filter(pk__in=(made.pk, twin.pk)).order_by("pk").values()
    assert {**found, "id": twin.pk} == expected
    made.content = "changed"
    made.save()
    assert Message.objects.get(pk=made.pk).content == "changed"


def test_insert_message_gives_a_running_reply_the_heartbeat_of_now(thread: Thread) -> None:
    for status in MessageStatus:
        made = statements.insert_message(thread=thread, sender=Sender.BOT, status=status)

        found = Message.objects.with_silence().get(pk=made.pk)
        assert (found.heartbeat_at is not None) == (status == MessageStatus.GENERATING)
        assert silence_of(found) < timedelta(seconds=5)


def test_insert_events_stores_them_at_the_time_of_the_database(thread: Thread) -> None:
    kinds = ThreadEvent.Kind
    user_id = -thread.user_id  # nobody's: the feeds of other tests leave events, too
    events = [
        ThreadEvent(user_id=user_id, kind=kinds.MANY),
        ThreadEvent(
            user_id=user_id, kind=kinds.REPLY_ENDED, thread_id=3, reply_id=4, status="failed"
        ),
    ]

    statements.insert_events(events)

    ThreadEvent.objects.bulk_create(events)
    found = ThreadEvent.objects.filter(user_id=user_id).order_by("pk")
    stored = list(found.values("kind", "thread_id", "reply_id", "status"))
    assert len(stored) == 4
    assert stored[:2] == stored[2:]
    since = timezone.now() - timedelta(minutes=1)
    assert found.filter(created_at__gt=since).count() == 4

"""Whether anybody, in any process, reads a running reply; every function blocks on the database.

The process that writes a reply knows its own readers, and records since when it has had none
(`unread_since`). A reader in another process reports every few seconds that it is still there
(`followed_at`). When one leaves, it sets that time back; others who still read notice, and report
again.
"""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from chat.models import Message
from chat.replies.lifecycle import silence_of
from chat.replies.owner import this_process

FOLLOWED_SECONDS = 5.0  # how often a reader in another process reports that it is there
FOLLOWED_FOR = timedelta(seconds=10)  # how long that is believed
# To where a reader that leaves sets the time back: others have a second to report again.
LEFT_AGO = timedelta(seconds=9)
# After this, a reply makes way for another message: two seconds, less the time it takes to notice
# that a reader has left.
ABANDONED_AFTER = timedelta(seconds=1.75)

logger = logging.getLogger(__name__)


def note_reader(reply_id: int) -> None:
    """Record that somebody in this process reads a reply that another process writes."""
    Message.objects.filter(pk=reply_id).update(followed_at=Now())


def note_reader_left(reply_id: int) -> None:
    """Record that such a reader has left (see `followed_at`); only log it where that fails."""
    try:
        Message.objects.filter(pk=reply_id).update(followed_at=Now() - LEFT_AGO)
    except DatabaseError as error:
        logger.warning("It could not be recorded that a reader left reply %s: %s", reply_id, error)


def has_reader_left(reply: Message) -> bool:
    """Return whether another reader of a reply has just left; it was read `with_silence`."""
    if reply.followed_at is None:
        return False
    now = (reply.heartbeat_at or reply.created_at) + silence_of(reply)
    return now - reply.followed_at > LEFT_AGO - timedelta(seconds=1)


def save_unread(unread_for: Mapping[int, timedelta | None]) -> None:
    """Store how long replies of this process have had no reader; None where they have one."""
    for pk, duration in unread_for.items():
        since = None if duration is None else Now() - duration
        Message.objects.filter(pk=pk, owner=this_process()).update(unread_since=since)


def find_abandoned(thread_id: int) -> int | None:
    """Return the id of a thread's running reply if nobody reads it any more, by its row."""
    replies = Message.objects.generating().filter(thread=thread_id, in_background=False)
    row = replies.annotate(
        unread_for=time_since("unread_since"), unfollowed_for=time_since("followed_at")
    )
    for pk, unread_for, unfollowed_for in row.values_list("pk", "unread_for", "unfollowed_for"):
        if unread_for is None or unread_for < ABANDONED_AFTER:
            return None
        if unfollowed_for is not None and unfollowed_for - LEFT_AGO < ABANDONED_AFTER:
            return None
        return int(pk)
    return None


def time_since(field: str) -> Any:
    """Return the time that has passed since the field's, by the database's clock."""
    return ExpressionWrapper(Now() - F(field), output_field=DurationField())

"""Every change of a reply's status, who may make it, and the one function that makes it.

| from       | to          | who, and when                                          | function    |
|------------|-------------|--------------------------------------------------------|-------------|
| (no row)   | generating  | a send                                                 | `begin`     |
| generating | complete    | its owner: the model has finished                      | `end`       |
| generating | failed      | its owner: the model has failed                        | `end`       |
| generating | interrupted | its owner: the process ends                            | `end`       |
| generating | stopped     | its owner: nobody has read it for long                 | `end`       |
| generating | stopped     | its user or an operator, in any process                | `stop`      |
| generating | interrupted | anybody: its owner has died                            | `interrupt` |
| generating | (no row)    | its owner: the model has failed before its first word  | `discard`   |

The owner is the process that writes the reply. Each change is a compare-and-set on `generating`, so
of two at the same moment one wins, and a reply that has ended stays as it ended. The owner still
stores the last words of a reply that was stopped from elsewhere (see `has_unsaved_text`).

All of it is sync, and no function opens a transaction: the callers' hold more than the status.
"""

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from chat import statements
from chat.models import Message, MessageStatus, Sender
from chat.replies.owner import this_process

LAST_WORDS_AFTER = timedelta(seconds=3)
CLOCK_PRECISION = timedelta(milliseconds=1)  # of SQLite's, which compares times as text


def begin(**fields: Any) -> Message:
    """Create a reply that this process is about to write.

    Raises `IntegrityError` where another reply of its thread is being written.
    """
    return Message.objects.create(
        sender=Sender.BOT,
        status=MessageStatus.GENERATING,
        owner=this_process(),
        heartbeat_at=Now(),
        **fields,
    )


def end(reply: Message, status: MessageStatus) -> None:
    """Store a reply of this process with its last words.

    Where it was ended from elsewhere meanwhile, it keeps that status, without an error.
    """
    reply.status, reply.heartbeat_at = status, None
    if not statements.save_reply_end(reply, only_if_generating=True):
        ended_as = Message.objects.filter(pk=reply.pk).values_list("status", flat=True).first()
        reply.status = ended_as or MessageStatus.STOPPED  # deleted with its thread or its user
        reply.error_code = ""
        statements.save_reply_end(reply, only_if_generating=False)


def stop(which: Q) -> list[int]:
    """Stop the running replies among `which` messages, whoever writes them; return their ids.

    To be called in a transaction. The owner of each sees it at its next checkpoint.
    """
    running = Message.objects.generating().filter(which).select_for_update(of=("self",))
    ids = list(running.order_by("pk").values_list("pk", flat=True))
    Message.objects.generating().filter(pk__in=ids).update(status=MessageStatus.STOPPED)
    return ids


def interrupt(orphan: Message) -> None:
    """End a reply whose owner has died, unless it has come back meanwhile."""
    unchanged = Message.objects.generating().filter(pk=orphan.pk)
    if orphan.heartbeat_at:
        unchanged = unchanged.filter(heartbeat_at__lt=orphan.heartbeat_at + CLOCK_PRECISION)
    unchanged.update(status=MessageStatus.INTERRUPTED)


def discard(reply: Message) -> bool:
    """Delete a reply that has no word yet, with its question; return whether it was still running.

    To be called in a transaction.
    """
    if not Message.objects.generating().filter(pk=reply.pk).select_for_update().exists():
        return False
    Message.objects.filter(children=reply).delete()  # and with it the reply
    return True


def silence_of(reply: Message) -> timedelta:
    """Return the time since the last heartbeat of a reply that was read `with_silence`."""
    silent_for: timedelta = reply.silent_for  # type: ignore[attr-defined]
    return silent_for


def has_unsaved_text(reply: Message) -> bool:
    """Return whether more of the text may come: it is being written, or was stopped elsewhere.

    `reply` was read `with_silence`.
    """
    if reply.status == MessageStatus.GENERATING:
        return True
    return reply.heartbeat_at is not None and silence_of(reply) < LAST_WORDS_AFTER

"""Every change of a reply's status and owner, who may make it, and the one function that makes it.

| from       | to          | who, and when                                          | function    |
|------------|-------------|--------------------------------------------------------|-------------|
| (no row)   | generating  | a send                                                 | `begin`     |
| generating | complete    | its owner: the model has finished                      | `end`       |
| generating | failed      | its owner: the model has failed                        | `end`       |
| generating | stopped     | its owner: nobody has read it for long                 | `end`       |
| generating | stopped     | its owner: its user was deactivated or deleted         | `end`       |
| generating | stopped     | its user or an operator, in any process                | `stop`      |
| generating | stopped     | any process: its user or its thread goes away          | `stop`      |
| generating | stopped     | any process: a send supersedes it, as nobody reads it  | `stop`      |
| generating | generating  | its owner: the process ends, and lets go of it         | `hand_over` |
| generating | generating  | any process: its owner has died or let go of it        | `take_over` |
| generating | interrupted | any process: nobody can carry it on                    | `interrupt` |
| generating | interrupted | its owner: the process ends, or the model cannot go on | `end`       |
| generating | (no row)    | its owner: the model has failed before its first word  | `discard`   |
| ended      | generating  | its user: it is to go on from its last character       | `reopen`    |
| generating | as before   | its owner: the model failed before it went on          | `end`       |

The owner is the process that writes the reply: what it stores, it stores only as long as it is the
owner. Each change is a compare-and-set, so of two at the same moment one wins, and a reply that has
ended stays as it ended. The owner still stores the last words of a reply that was stopped from
elsewhere (see `has_unsaved_text`).

All of it is sync. No function but `interrupt` opens a transaction: the callers' transactions cover
more.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.functions import Coalesce, Length, Now

from chat import statements
from chat.feed import log
from chat.models import Message, MessageStatus, Sender
from chat.replies.owner import NOBODY, this_process

LAST_WORDS_AFTER = timedelta(seconds=3)
CLOCK_PRECISION = timedelta(milliseconds=1)  # of SQLite's, which compares times as text

CONTINUABLE = Q(
    status__in=[MessageStatus.STOPPED, MessageStatus.INTERRUPTED, MessageStatus.FAILED]
) | Q(status=MessageStatus.COMPLETE, finish_reason="length")


class NotOwner(Exception):
    """Another process has taken the reply over: this one's part of it is over."""


def begin(**fields: Any) -> Message:
    """Create a reply that this process is about to write.

    Raises `IntegrityError` where another reply of its thread is being written.
    """
    reply = statements.insert_message(
        sender=Sender.BOT, status=MessageStatus.GENERATING, owner=this_process(), **fields
    )
    log.reply_started(reply)
    return reply


def end(reply: Message, status: MessageStatus) -> None:
    """Store a reply of this process with its last words. Raises `NotOwner`.

    Where it was ended from elsewhere meanwhile, it keeps that status, without an error.
    """
    reply.status, reply.heartbeat_at = status, None
    if statements.save_reply_end(reply, this_process(), only_if_generating=True):
        log.replies_ended([(reply.pk, reply.thread_id, reply.thread.user_id)], status)
        return
    row = Message.objects.filter(pk=reply.pk).values_list("status", "owner").first()
    ended_as, owner = row or (MessageStatus.STOPPED, this_process())  # deleted with its thread
    if owner != this_process():
        raise NotOwner
    reply.status, reply.error_code = MessageStatus(ended_as), ""
    if statements.save_reply_end(reply, this_process(), only_if_generating=False):
        log.thread_changed(reply.thread_id, reply.thread.user_id)


def stop(which: Q) -> list[int]:
    """Stop the running replies among `which` messages, whoever writes them; return their ids.

    To be called in a transaction. The owner of each sees it at its next checkpoint.
    """
    running = Message.objects.generating().filter(which)
    running = running.select_for_update(of=("self",), no_key=True)
    stopped = list(running.order_by("pk").values_list("pk", "thread_id", "thread__user_id"))
    ids = [pk for pk, _, _ in stopped]
    Message.objects.generating().filter(pk__in=ids).update(status=MessageStatus.STOPPED)
    log.replies_ended(stopped, MessageStatus.STOPPED)
    return ids


def hand_over(ids: Sequence[int]) -> None:
    """Let go of replies of this process, for another to take over at once."""
    mine = Message.objects.generating().filter(pk__in=ids, owner=this_process())
    mine.update(owner=NOBODY)


def take_over(orphan: Message) -> bool:
    """Make this process the owner of a reply whose owner has died; return whether it is now.

    A reply with only thinking starts over.
    """
    taken = _unchanged(orphan).update(
        owner=this_process(),
        heartbeat_at=Now(),
        takeovers=F("takeovers") + 1,
        rewind_offset=Coalesce("rewind_offset", Length("content")),
        thinking=Case(
            When(content="", then=Value("")), default=F("thinking"), output_field=TextField()
        ),
    )
    return bool(taken)


def interrupt(orphan: Message) -> bool:
    """Interrupt a reply whose owner has died, unless that has come back; return whether it was."""
    with transaction.atomic():
        if not _unchanged(orphan).update(status=MessageStatus.INTERRUPTED, heartbeat_at=None):
            return False
        ended = [(orphan.pk, orphan.thread_id, orphan.thread.user_id)]
        log.replies_ended(ended, MessageStatus.INTERRUPTED)
    return True


def discard(reply: Message) -> bool:
    """Delete a reply that has no word yet; return whether it was still running.

    A question that was sent with it, and so has its time, goes with it. To be called in a
    transaction.
    """
    mine = Message.objects.generating().filter(pk=reply.pk, owner=this_process())
    if not mine.select_for_update().exists():
        return False
    if not Message.objects.filter(children=reply, created_at=reply.created_at).delete()[0]:
        Message.objects.filter(pk=reply.pk).delete()
    ended = [(reply.pk, reply.thread_id, reply.thread.user_id)]
    log.replies_ended(ended, MessageStatus.FAILED)
    return True


def reopen(reply: Message) -> bool:
    """Have this process go on with a reply that has ended; return False where something follows it.

    Raises `IntegrityError` where another reply of its thread is being written.
    """
    ended = Message.objects.filter(CONTINUABLE, pk=reply.pk, children=None)
    if not ended.update(
        status=MessageStatus.GENERATING,
        owner=this_process(),
        heartbeat_at=Now(),
        followed_at=None,
        unread_since=None,
        error_code="",
        finish_reason="",
        takeovers=0,
    ):
        return False
    log.reply_started(reply)
    return True


def has_unsaved_text(reply: Message) -> bool:
    """Return whether more of the text may come: it is being written, or was stopped elsewhere.

    `reply` was read `with_silence`.
    """
    if reply.status == MessageStatus.GENERATING:
        return True
    return reply.heartbeat_at is not None and silence_of(reply) < LAST_WORDS_AFTER


def silence_of(reply: Message) -> timedelta:
    """Return the time since the last heartbeat of a reply that was read `with_silence`."""
    silent_for: timedelta = reply.silent_for  # type: ignore[attr-defined]
    return silent_for


def _unchanged(orphan: Message) -> Any:
    """Return the row of a reply, if it is still as it was when it was found orphaned."""
    row = Message.objects.generating().filter(pk=orphan.pk, owner=orphan.owner)
    if orphan.heartbeat_at:
        row = row.filter(heartbeat_at__lt=orphan.heartbeat_at + CLOCK_PRECISION)
    return row

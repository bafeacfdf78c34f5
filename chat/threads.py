"""What is done with whole threads."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.authentication import unauthenticated_if_deleted
from accounts.models import User
from chat import statements
from chat.feed import log
from chat.models import Message, Sender, Thread
from chat.replies import actions
from chat.replies.positions import positions
from chat.replies.store import first_words
from core import cleanup
from core.cleanup import MAX_BATCH


def new(user: User, fields: Mapping[str, Any]) -> Thread:
    """Return a thread that is not stored; the server's model writes where `fields` names none."""
    return Thread(user=user, **{"model": settings.OLLAMA_MODEL, **fields})


def create(user: User, fields: Mapping[str, Any]) -> Thread:
    """Create a thread."""
    thread = new(user, fields)
    with unauthenticated_if_deleted(user), transaction.atomic():
        thread.save(force_insert=True)
        log.thread_changed(thread.pk, user.pk)
    return thread


def change(user: User, thread_id: int, changes: dict[str, Any]) -> Thread:
    """Change fields of one of the user's threads and return it. Raises `Http404`.

    A title that is taken back becomes that of its first message again.
    """
    if changes.get("title") == "":
        said = Message.objects.filter(thread=thread_id, thread__user=user, sender=Sender.USER)
        first = said.order_by("pk").values_list("content", flat=True).first()
        changes = {**changes, "title": first_words(first) if first else ""}
    if changes:
        with transaction.atomic():
            if Thread.objects.filter(pk=thread_id, user=user).update(**changes):
                log.thread_changed(thread_id, user.pk)
    return statements.get_thread(user, thread_id)


def add_positions(threads: Iterable[Thread]) -> None:
    """Set the `position` of threads, read as lists have them, whose running reply waits."""
    running = {t: t.running_reply_id for t in threads if t.running_reply_id is not None}
    places = positions.of(running.values())
    for thread, reply_id in running.items():
        thread.position = places.get(reply_id)


def delete(threads: QuerySet[Thread]) -> int:
    """Delete threads and stop their running replies; return how many there were.

    They are hidden at once; their rows are deleted in the background.
    """
    ids = list(threads.order_by("pk").values_list("pk", flat=True))
    number = 0
    for start in range(0, len(ids), MAX_BATCH):
        number += _hide(Thread.objects.filter(pk__in=ids[start : start + MAX_BATCH]))
    transaction.on_commit(cleanup.due.set)
    return number


def delete_expired(limit: int) -> int:
    """Delete some threads that have expired, and stop their running replies; return how many."""
    return _hide_some(Q(expires_at__lte=timezone.now()), limit)


def delete_unused(limit: int) -> int:
    """Delete some threads that nobody has used for `CHAT_KEEP_DAYS`; return how many."""
    if not settings.CHAT_KEEP_DAYS:
        return 0
    return _hide_some(Q(updated_at__lte=oldest_kept()), limit)


def oldest_kept() -> datetime:
    """Return when a thread must have been used last to be kept, where `CHAT_KEEP_DAYS` is set."""
    return timezone.now() - timedelta(days=settings.CHAT_KEEP_DAYS)


def _hide_some(which: Q, limit: int) -> int:
    found = Thread.all_objects.filter(which, deleted_at=None)
    # With the condition again: somebody may be using a thread, or may just have kept it.
    return _hide(found.filter(pk__in=list(found.values_list("pk", flat=True)[:limit])))


def _hide(found: QuerySet[Thread]) -> int:
    with transaction.atomic():
        # Locked in the order of ids, as by all others; a send waits, and then finds no thread. Not
        # locked as rows that go: who stores a message would wait, and hold what `stop` waits for.
        ordered = found.select_for_update(no_key=True).order_by("pk")
        locked = list(ordered.values_list("pk", "user_id"))
        ids = [pk for pk, _ in locked]
        number = Thread.all_objects.filter(pk__in=ids).update(deleted_at=timezone.now())
        actions.stop(Q(thread__in=ids))
        log.threads_deleted(locked)
    return number

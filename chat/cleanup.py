"""Deletes what has expired, and the rows of deleted threads: see `core/cleanup.py`."""

from collections.abc import Sequence

from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import Message, Send, Thread, ThreadEvent


def delete_expired_keys(limit: int) -> int:
    """Delete idempotency keys that are older than a day; return how many."""
    oldest = Send.objects.order_by("pk").values_list("pk", "created_at")[:limit]
    now = timezone.now()
    expired = [pk for pk, created_at in oldest if now - created_at > Send.KEPT_FOR]
    Send.objects.filter(pk__in=expired).delete()
    return len(expired)


def delete_old_events(limit: int) -> int:
    """Delete what has happened to threads more than an hour ago; return how many events.

    Never the newest: by it, those who come back know whether they have missed any.
    """
    oldest = ThreadEvent.objects.order_by("pk").values_list("pk", "created_at")[: limit + 1]
    now, rows = timezone.now(), list(oldest)
    old = [pk for pk, created_at in rows[:-1] if now - created_at > ThreadEvent.KEPT_FOR]
    ThreadEvent.objects.filter(pk__in=old).delete()
    return len(old)


def delete_hidden_threads(limit: int) -> int:
    """Delete threads that are hidden, or whose user is, with their messages; return how many rows.

    The newest messages go first, since each follows an older one. Threads go by themselves: whoever
    waits for one may hold a message.
    """
    threads = _ids_of_hidden_threads(limit)
    messages: list[int] = []
    for thread_id in threads:
        newest = Message.objects.filter(thread=thread_id).order_by("-pk")
        messages += newest.values_list("pk", flat=True)[: limit - len(messages)]
        if len(messages) == limit:
            break
    if messages:
        _delete_messages(messages)
        return len(messages)
    empty = Thread.all_objects.filter(pk__in=threads)
    list(empty.select_for_update().order_by("pk").values_list("pk", flat=True))
    empty.delete()
    return len(threads)


def _ids_of_hidden_threads(limit: int) -> list[int]:
    hidden_users = User.all_objects.filter(deleted_at__isnull=False)
    for threads in (
        Thread.all_objects.filter(deleted_at__isnull=False),
        Thread.all_objects.filter(user__in=hidden_users),
    ):
        if ids := list(threads.values_list("pk", flat=True)[:limit]):
            return ids
    return []


def _delete_messages(ids: Sequence[int]) -> None:
    if not ids:
        return
    for relation in Message._meta.related_objects:
        if relation.related_model is not Message:
            rows = relation.related_model._base_manager
            rows.filter(**{f"{relation.field.name}__in": ids}).delete()
    statements.delete_messages(ids)

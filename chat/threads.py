"""What is done with whole threads."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.authentication import unauthenticated_if_deleted
from accounts.models import User
from chat import statements
from chat.models import Thread
from chat.replies import actions


def create(user: User, fields: dict[str, Any]) -> Thread:
    """Create a thread; the server's model writes in it where `fields` names none."""
    with unauthenticated_if_deleted(user):
        return Thread.objects.create(user=user, **{"model": settings.OLLAMA_MODEL, **fields})


def change(user: User, thread_id: int, changes: dict[str, Any]) -> Thread:
    """Change fields of one of the user's threads and return it. Raises `Http404`."""
    if changes:
        Thread.objects.filter(pk=thread_id, user=user).update(**changes)
    return statements.get_thread(user, thread_id)


def delete(threads: QuerySet[Thread]) -> int:
    """Delete threads, ending their running replies; return how many there were."""
    with transaction.atomic():
        # Locked, so that no message is added to what has been collected for deletion.
        locked = threads.select_for_update().order_by("pk")
        ids = list(locked.values_list("pk", flat=True))
        actions.stop(Q(thread__in=ids))
        _, counts = Thread.objects.filter(pk__in=ids).delete()
    return counts.get(Thread._meta.label, 0)

"""Deletes expired sessions and tokens, and the rows of deleted users: see `core/cleanup.py`."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import Session, Token, User


def delete_expired_sessions(limit: int) -> int:
    """Delete sessions that have expired, the user's or nobody's; return how many rows."""
    return _delete_some(Session.objects.filter(expire_date__lte=timezone.now()), limit)


def delete_expired_tokens(limit: int) -> int:
    """Delete tokens that have expired; return how many rows."""
    return _delete_some(Token.objects.filter(expires_at__lte=timezone.now()), limit)


def delete_hidden_users(limit: int) -> int:
    """Delete users whose deletion has hidden them, with all rows that refer to them.

    Return how many rows. Rows that many others refer to must have been deleted before.
    """
    hidden = User.all_objects.filter(deleted_at__isnull=False)
    for relation in User._meta.related_objects:
        rows: QuerySet[Any] = relation.related_model._base_manager.filter(
            **{f"{relation.field.name}__in": hidden}
        )
        if deleted := _delete_some(rows, limit):
            return deleted
    return _delete_some(hidden, limit)


def _delete_some(rows: QuerySet[Any], limit: int) -> int:
    some = list(rows.values_list("pk", flat=True)[:limit])
    rows.model._base_manager.filter(pk__in=some).delete()
    return len(some)

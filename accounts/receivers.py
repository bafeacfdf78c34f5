"""Record logins, in the API and in the admin, and deleted accounts in the audit log."""

from functools import partial
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from core import audit


def record_login(sender: Any, user: User, **signal: Any) -> None:
    """Record who has logged in."""
    audit.record("login", user.pk)


def record_failed_login(sender: Any, credentials: dict[str, Any], **signal: Any) -> None:
    """Record whose password was wrong; an unknown name takes the same time."""
    user = User.objects.find(credentials["username"])
    audit.record("login_failed", user.pk if user else None)


def record_logout(sender: Any, request: HttpRequest, user: User | None, **signal: Any) -> None:
    """Record who has logged out."""
    if user:
        audit.record("logout", user.pk)


def record_deletion(sender: Any, instance: User, **signal: Any) -> None:
    """Record whose account was deleted, once the transaction is committed.

    One that `User.delete` has hidden was recorded then.
    """
    if instance.deleted_at is None:
        transaction.on_commit(partial(audit.record, "deletion", instance.pk))

"""What the audit log is told of logins, here and in the admin, and of accounts that are deleted."""

from functools import partial
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from core import audit


def logged_in(sender: Any, user: User, **signal: Any) -> None:
    """Note who has begun a session."""
    audit.record("login", user.pk)


def login_failed(sender: Any, credentials: dict[str, Any], **signal: Any) -> None:
    """Note whose password was not given; an unknown name takes the same time."""
    user = User.objects.find(credentials["username"])
    audit.record("login_failed", user.pk if user else None)


def logged_out(sender: Any, request: HttpRequest, user: User | None, **signal: Any) -> None:
    """Note who has ended their session."""
    if user:
        audit.record("logout", user.pk)


def deleted(sender: Any, instance: User, **signal: Any) -> None:
    """Note whose account is gone, once it is."""
    transaction.on_commit(partial(audit.record, "deletion", instance.pk))

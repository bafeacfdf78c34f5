"""What the chat app does when something happens elsewhere."""

from typing import Any

from django.db.models import Q

from accounts.models import User
from chat import replies


def stop_replies(sender: type[User], user: User, **signal: Any) -> None:
    """Stop whatever is being written for a user."""
    replies.stop(Q(thread__user=user))


def stop_replies_of_deleted(sender: type[User], instance: User, **signal: Any) -> None:
    """Stop whatever is being written for a user who is about to be deleted."""
    stop_replies(sender, instance)

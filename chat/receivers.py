"""What the chat app does when something happens elsewhere."""

from typing import Any

from django.db.models import Q

from accounts.models import User
from chat.replies import actions
from chat.search import database


def end_replies(sender: type[User], user: User, **signal: Any) -> None:
    """Stop all running replies of a user.

    One that starts at this very moment is stopped by its next checkpoint.
    """
    actions.stop(Q(thread__user=user))


def install_search(**signal: Any) -> None:
    """Make the search index and its triggers where a migration has left them missing."""
    database.install()

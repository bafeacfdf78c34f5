"""What the chat app does when something happens elsewhere."""

from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts.models import User
from chat.replies import actions


def end_replies(sender: type[User], user: User, **signal: Any) -> None:
    """Stop whatever is being written for a user.

    Where this is part of a transaction, no message is added to their threads until it ends.
    """
    with transaction.atomic():
        # In the order in which a reply's end and a send take their locks.
        for rows in (user.threads, user.usage):
            list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
        actions.stop(Q(thread__user=user))

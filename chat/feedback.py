"""What users think of replies."""

from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import branches, statements
from chat.models import Message
from core.errors import ApiError


class NotAReply(ApiError):
    """Only what the model wrote can be rated."""

    code, message = "not_a_reply", "Only replies can be rated: this message is the user's own."


def rate(user: User, thread_id: int, message_id: int, rating: int | None, comment: str) -> Message:
    """Store what the user thinks of a reply, None for nothing; return the reply.

    Raises `Http404` and `NotAReply`.
    """
    thread = statements.get_thread(user, thread_id)
    rows = Message.objects.filter(thread=thread, pk=message_id)
    message = rows.first()
    if message is None:
        raise Http404
    if not message.is_reply:
        raise NotAReply
    message.rating = rating
    message.rating_comment = comment if rating else ""
    message.rated_at = timezone.now() if rating else None
    # Not by saving the row: it may be being written.
    names = ("rating", "rating_comment", "rated_at")
    if not rows.update(**{name: getattr(message, name) for name in names}):
        raise Http404
    branches.add_siblings([message])
    return message

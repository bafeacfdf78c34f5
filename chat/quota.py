"""How many tokens a user may use a day."""

from datetime import UTC, datetime, time, timedelta

from django.conf import settings
from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import User
from chat.models import Message
from llama_chatbot.errors import ApiError


class QuotaExceeded(ApiError):
    """The user has used the tokens of this day, which ends at midnight UTC."""

    status, code = 429, "quota_exceeded"

    def __init__(self, allowance: int) -> None:
        seconds = seconds_until_midnight(timezone.now())
        super().__init__(
            f"You have used your {allowance:,} tokens of today: go on tomorrow, after 0:00 UTC.",
            headers={"Retry-After": str(seconds)},
        )


def check(user: User) -> None:
    """Raise `QuotaExceeded` where the user has none of today's tokens left.

    A running reply counts with its prompt, so the last replies of a day may exceed it. To be called
    in the transaction that begins the next one.
    """
    allowance = settings.CHAT_DAILY_TOKENS if user.daily_tokens is None else user.daily_tokens
    if not allowance:
        return
    User.objects.hold(user.pk)  # one send of theirs at a time
    used = user.usage.filter(date=timezone.now().date()).total()
    running = Message.objects.generating().filter(thread__user=user)
    asked = running.aggregate(tokens=Coalesce(Sum("context_tokens"), 0))["tokens"]
    if used["prompt_tokens"] + used["completion_tokens"] + asked >= allowance:
        raise QuotaExceeded(allowance)


def seconds_until_midnight(now: datetime) -> int:
    """Return the whole seconds, rounded up, until the next day begins in UTC."""
    tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    return -((now - tomorrow) // timedelta(seconds=1))

"""How many tokens users have used, and how many they may use a day."""

from datetime import UTC, datetime, time, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import Message, Usage
from core import metrics
from core.errors import ApiError


class QuotaExceeded(ApiError):
    """The user has used the tokens of this day, which ends at midnight UTC."""

    status, code = 429, "quota_exceeded"

    def __init__(self, allowance: int) -> None:
        seconds = seconds_until_midnight(timezone.now())
        super().__init__(
            f"You have used your {allowance:,} tokens of today: go on tomorrow, after 0:00 UTC.",
            headers={"Retry-After": str(seconds)},
        )


def add(user_id: int, model: str, replies: int, prompt_tokens: int, completion_tokens: int) -> None:
    """Add to what a user has used of a model today."""
    today = timezone.now().date()

    def add_to_row() -> bool:
        return statements.add_usage(
            user_id,
            today,
            model,
            replies=replies,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )

    if not add_to_row():
        # The first use of a day makes the row, unless its user was deleted meanwhile.
        with transaction.atomic():
            if User.objects.lock(user_id):
                Usage.objects.get_or_create(user_id=user_id, date=today, model=model)
                add_to_row()
    transaction.on_commit(partial(metrics.tokens_used, model, prompt_tokens, completion_tokens))


def check_quota(user: User) -> None:
    """Raise `QuotaExceeded` where the user has none of today's tokens left.

    A running reply counts with its prompt, so the last replies of a day may exceed it. To be called
    in the transaction that starts the next one.
    """
    allowance = settings.CHAT_DAILY_TOKENS if user.daily_tokens is None else user.daily_tokens
    if not allowance:
        return
    User.objects.lock(user.pk)  # one send of theirs at a time
    used = user.usage.filter(date=timezone.now().date()).total()
    running = Message.objects.generating().filter(thread__user=user)
    asked = running.aggregate(tokens=Coalesce(Sum("context_tokens"), 0))["tokens"]
    if used["prompt_tokens"] + used["completion_tokens"] + asked >= allowance:
        raise QuotaExceeded(allowance)


def seconds_until_midnight(now: datetime) -> int:
    """Return the whole seconds, rounded up, until the next day begins in UTC."""
    tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    return -((now - tomorrow) // timedelta(seconds=1))

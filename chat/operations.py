"""What operators want to know at a glance: what runs and waits, how fast and how much.

All of it is bounded, however many messages there are, and none of it has a word of anybody's.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db.models import F, Q, Sum
from django.utils import timezone

from accounts.models import User
from chat.models import Message, MessageStatus, Sender, Turn, Usage
from chat.ollama import placement
from chat.replies import actions
from core import audit

MAX_RUNNING = 200  # replies on the page
MAX_RECENT = 10_000  # newest messages among which the last hour's replies are looked for
RECENT = timedelta(hours=1)
DAYS = 14
PLOT_HEIGHT, BAR_STEP = 120, 40  # in the plot's own units
MAX_DIGITS = 19  # of an id
MAX_USERS = 20  # those who have used most


class Running(NamedTuple):
    """A reply that is being written, or waits for its turn; `seconds` since it was asked for."""

    reply_id: int
    user_id: int
    username: str
    model: str
    host: str  # "" while it waits; one of several where turns are not limited
    seconds: int


class Speed(NamedTuple):
    """How many replies of a model have ended, and how soon they had their first token.

    Half of them had it within `half_ms` milliseconds, and 95 % within `most_ms`.
    """

    model: str
    ended: int
    failed: int
    half_ms: int | None
    most_ms: int | None


class Use(NamedTuple):
    """The tokens that a user has used on each day, and in all."""

    username: str
    days: list[int]
    total: int


def overview() -> dict[str, Any]:
    """Return what the page shows, by the names that its template has for it."""
    shown = days()
    tokens, users = use(shown)
    return {
        "running": running(),
        "max_running": MAX_RUNNING,
        "speeds": speeds(),
        "days": shown,
        "bars": bars(shown, tokens),
        "plot_width": len(shown) * BAR_STEP,
        "use": users,
        "max_users": MAX_USERS,
    }


def stop(reply_id: str) -> bool:
    """Stop the reply of this id, and write that into the audit log; return whether it ran."""
    if not (reply_id.isascii() and reply_id.isdigit() and len(reply_id) < MAX_DIGITS):
        return False
    reply = Message.objects.filter(pk=int(reply_id)).values("thread__user").first()
    if not reply or not actions.stop(Q(pk=int(reply_id))):
        return False
    audit.record("reply_stopped", reply["thread__user"], reply=int(reply_id))
    return True


def running() -> list[Running]:
    """Return the replies that run or wait, those that were asked for first before the others."""
    now = timezone.now()
    rows = Message.objects.generating().order_by("pk")[:MAX_RUNNING]
    found = list(
        rows.values_list("pk", "thread__user", "thread__user__username", "model", "created_at")
    )
    turns = Turn.objects.filter(reply_id__in=[pk for pk, *_ in found])
    hosts = dict(turns.values_list("reply_id", "host"))
    any_host = " or ".join(map(placement.without_password, placement.hosts()))
    return [
        Running(
            pk,
            user_id,
            username,
            model,
            placement.without_password(hosts[pk]) if pk in hosts else any_host,
            max(0, round((now - created_at).total_seconds())),
        )
        for pk, user_id, username, model, created_at in found
    ]


def speeds() -> list[Speed]:
    """Return how each model has done in the last hour, by name."""
    older = list(Message.objects.order_by("-pk").values_list("pk", flat=True)[MAX_RECENT:][:1])
    replies = Message.objects.filter(
        sender=Sender.BOT,
        created_at__gt=timezone.now() - RECENT,
        pk__gt=older[0] if older else 0,
    ).exclude(status=MessageStatus.GENERATING)
    ended: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    times: dict[str, list[int]] = defaultdict(list)
    for model, status, first_token_ms in replies.values_list("model", "status", "first_token_ms"):
        ended[model] += 1
        failed[model] += status in (MessageStatus.FAILED, MessageStatus.INTERRUPTED)
        if first_token_ms is not None:
            times[model].append(first_token_ms)
    return [
        Speed(model, ended[model], failed[model], of(times[model], 0.5), of(times[model], 0.95))
        for model in sorted(ended)
    ]


def of(times: list[int], share: float) -> int | None:
    """Return the time within which this share of all was; None where there is none."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else None


def days() -> list[date]:
    """Return the days that the page shows, today the last."""
    today = timezone.now().date()
    return [today - timedelta(days=ago) for ago in reversed(range(DAYS))]


def use(shown: Sequence[date]) -> tuple[list[int], list[Use]]:
    """Return the tokens of all users on each day, and of those who have used most."""
    rows = Usage.objects.filter(date__gte=shown[0]).order_by()
    tokens = Sum(F("prompt_tokens") + F("completion_tokens"))
    of_all = dict(rows.values("date").annotate(tokens=tokens).values_list("date", "tokens"))
    most = rows.values("user").annotate(tokens=tokens).order_by("-tokens")[:MAX_USERS]
    totals = dict(most.values_list("user", "tokens"))
    # Without a join, which all rows would take; a user who is being deleted has no name here.
    names = dict(User.objects.filter(pk__in=totals).values_list("pk", "username"))
    users = [(pk, names[pk], total) for pk, total in totals.items() if pk in names]
    of_each = rows.filter(user__in=[pk for pk, *_ in users])
    of_day = {
        (user_id, day): number
        for user_id, day, number in of_each.values("user", "date")
        .annotate(tokens=tokens)
        .values_list("user", "date", "tokens")
    }
    table = [
        Use(username, [of_day.get((user_id, day), 0) for day in shown], total)
        for user_id, username, total in users
    ]
    return [of_all.get(day, 0) for day in shown], table


class Bar(NamedTuple):
    """One day of the plot, in its own units."""

    day: date
    tokens: int
    x: int
    y: int
    height: int


def bars(shown: Sequence[date], tokens: Sequence[int]) -> list[Bar]:
    """Return the bars of a plot of this many tokens on each day, the highest as high as it is."""
    top = max([*tokens, 1])
    heights = [round(number / top * PLOT_HEIGHT) for number in tokens]
    return [
        Bar(day, number, index * BAR_STEP, PLOT_HEIGHT - height, height)
        for index, (day, number, height) in enumerate(zip(shown, tokens, heights, strict=True))
    ]

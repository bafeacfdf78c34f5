"""The call that shows a user what they have used; it lies under /auth/."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from ninja import Query, Router

from accounts.authentication import UserRequest
from chat import schemas
from core.ratelimit import rate_limit

router = Router(tags=["accounts"])


@router.get("", response=schemas.UsageOut)
@rate_limit("read")
def read_usage(request: UserRequest, period: Query[schemas.Period]) -> dict[str, Any]:
    """Return what the user has used of each model on each of the last days."""
    since = timezone.now().date() - timedelta(days=period.days - 1)
    used = request.auth.usage.filter(date__gte=since).order_by("-date", "model")
    return {"days": used, "total": used.total()}

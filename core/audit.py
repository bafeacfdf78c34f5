"""The audit log: what was done to whose account, by whom and from where.

Each line is one JSON object, sent to the logger "audit". Users appear by id only: what somebody
types into a name field may be a password. No secret and no message is ever written here.
"""

import json
import logging

from django.http import HttpRequest
from django.utils import timezone

from core.addresses import client_address
from core.errors import ApiError
from core.logs import current_request, request_id

logger = logging.getLogger("audit")


def record(event: str, user_id: int | None, **details: int | str) -> None:
    """Write one line: `event` happened to the account with this id, None if there is no account.

    `by` is the id of the user who made the request, null when they are not logged in. `by` and
    `address` are null for what is done on the command line. Blocks, and may read the database.
    """
    request = current_request.get()
    line = {
        "time": timezone.now().isoformat(timespec="milliseconds"),
        "event": event,
        "user": user_id,
        "by": caller_id(request) if request else None,
        "address": caller_address(request) if request else None,
        "request_id": request_id(),
        **details,
    }
    logger.info(json.dumps(line))


def caller_id(request: HttpRequest) -> int | None:
    """Return the id of the user who made the request, by session or by token."""
    return request.user.pk


def caller_address(request: HttpRequest) -> str | None:
    """Return the client's address, None where it cannot be read."""
    try:
        return client_address(request)
    except ApiError:
        return None

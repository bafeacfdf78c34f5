"""The audit log: what was done with whose account, by whom and from where.

One JSON object a line, through the logger "audit". People are named by their ids alone: what
somebody types in the place of a name may be a password. No secret and no message ever comes here.
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
    """Write one line: `event` happened to the account of that id, None where there is none.

    `by` is the id of who asked for it, null for somebody who is not logged in; it and `address` are
    null too for what a command line did. Blocks, and may read the database.
    """
    request = current_request.get()
    line = {
        "time": timezone.now().isoformat(timespec="milliseconds"),
        "event": event,
        "user": user_id,
        "by": who_asks(request) if request else None,
        "address": address_of(request) if request else None,
        "request_id": request_id(),
        **details,
    }
    logger.info(json.dumps(line))


def who_asks(request: HttpRequest) -> int | None:
    """Return the id of the request's user, known by a session or by a token."""
    user = getattr(request, "auth", None) or request.user
    return user.pk


def address_of(request: HttpRequest) -> str | None:
    """Return the client's address, or None where it cannot be read."""
    try:
        return client_address(request)
    except ApiError:
        return None

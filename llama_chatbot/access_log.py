"""The access log: one line a request, written when its response has ended.

It takes the place of uvicorn's, whose lines know neither the request's id nor its user, and have
its query string, which may be what somebody searches for.
"""

import logging
import time

from asgiref.typing import HTTPScope
from django.http import HttpRequest

from core.logs import current_request

CLIENT_GONE = 499  # nginx's status of a request whose client left before the response began

logger = logging.getLogger("access")


def replace_uvicorns() -> None:
    """Write this log in the place of uvicorn's, and uvicorn's other lines as all others are.

    Where uvicorn's options have silenced its access log, ours is silent too.
    """
    access, others = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn")
    logger.disabled = not (access.hasHandlers() and access.isEnabledFor(logging.INFO))
    access.handlers.clear()
    access.propagate = False
    others.handlers.clear()
    others.propagate = True


def write(
    request: HttpRequest | None, scope: HTTPScope, status: int | None, began_at: float
) -> None:
    """Write a request's line. `status` is None where no response has begun.

    `began_at` is of `time.monotonic()`.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    current_request.set(request)  # Django had it in another task
    route = request.resolver_match.route if request and request.resolver_match else None
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "route": route,
        "status": status or CLIENT_GONE,
        "milliseconds": round((time.monotonic() - began_at) * 1000),
        "user_id": user_id_of(request) if request else None,
        "address": scope["client"][0] if scope["client"] else None,
    }
    logger.info(
        "%(method)s %(path)s %(status)s, %(milliseconds)s ms, user %(user_id)s, %(address)s",
        fields,
        extra=fields,
    )


def user_id_of(request: HttpRequest) -> int | None:
    """Return the id of the user whose token or session the request has, if somebody has looked.

    `request.user` might look itself, which reads the database.
    """
    session = getattr(request, "session", None)
    user = getattr(request, "auth", None) or getattr(session, "user", None)
    return user.pk if user else None

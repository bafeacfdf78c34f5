"""The access log: one line a request, written when its response has ended.

It takes the place of uvicorn's, whose lines know neither the request's id nor its user, and have
its query string, which may be what somebody searches for.
"""

import logging
from typing import NamedTuple

from asgiref.typing import HTTPScope
from django.http import HttpRequest

from core.logs import current_request

CLIENT_GONE = 499  # nginx's status of a request whose client left before the response began

logger = logging.getLogger("access")


def replace_uvicorns() -> None:
    """Write this log instead of uvicorn's, and uvicorn's other lines like all others.

    Where uvicorn's options have silenced its access log, ours is silent too.
    """
    access, others = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn")
    logger.disabled = not (access.hasHandlers() and access.isEnabledFor(logging.INFO))
    access.handlers.clear()
    access.propagate = False
    others.handlers.clear()
    others.propagate = True


class End(NamedTuple):
    """What is known of a request when its response has ended.

    `route` is the template of its path, None where no view has it.
    """

    method: str
    path: str
    route: str | None
    status: int
    seconds: float


def write(request: HttpRequest | None, scope: HTTPScope, end: End) -> None:
    """Write a request's line."""
    if not logger.isEnabledFor(logging.INFO):
        return
    current_request.set(request)  # Django had it in another task
    fields = {
        "method": end.method,
        "path": end.path,
        "route": end.route,
        "status": end.status,
        "milliseconds": round(end.seconds * 1000),
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

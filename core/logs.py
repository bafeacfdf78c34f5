"""Links each line of the log to the request that it is about.

The current request is known to everything that runs on its behalf, in whatever thread. A reply
that is being written belongs to no request.
"""

import logging
from contextvars import ContextVar

from django.http import HttpRequest

current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


def request_id() -> str:
    """Return the id of the current request, "-" outside one."""
    return getattr(current_request.get(), "id", "-")


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to each record. Drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id and let the record pass."""
        record.request_id = request_id()
        return True


class IndentingFormatter(logging.Formatter):
    """Indents all lines of an entry but the first, so that no text in it can pass for an entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry."""
        return "\n    ".join(super().format(record).splitlines())

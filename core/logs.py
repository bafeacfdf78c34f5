"""Which request a line of the log is about.

The request under way is known to all that runs for it, in whatever thread; a reply in the making
belongs to none.
"""

import logging
from contextvars import ContextVar

from django.http import HttpRequest

current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


def request_id() -> str:
    """Return the id of the request under way, or "-"."""
    return getattr(current_request.get(), "id", "-")


class RequestId(logging.Filter):
    """Gives each line its request's id, as `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id; no line is held back."""
        record.request_id = request_id()
        return True


class Lines(logging.Formatter):
    """Indents all lines of an entry but the first, so that no text in it passes for an entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry."""
        return "\n    ".join(super().format(record).splitlines())

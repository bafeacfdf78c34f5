"""Sends e-mail to users."""

import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from django.core.mail import send_mail
from django.db import connection
from django.template.loader import render_to_string

from core.threads import Threads

logger = logging.getLogger(__name__)

# The interpreter waits for these threads before it exits, so a restart loses no mail.
outbox = Threads(2, "outbox")


def enqueue(write: Callable[..., None], *arguments: Any) -> None:
    """Call `write` in the background: a request takes as long whether or not mail is sent."""
    outbox.submit(copy_context().run, _write, write, *arguments)


def _write(write: Callable[..., None], *arguments: Any) -> None:
    try:
        write(*arguments)
    except Exception:
        # Nobody reads this thread's result, so an error that is not logged here is lost.
        logger.exception("An e-mail could not be sent")
    finally:
        connection.close()


def send(address: str, subject: str, template: str, context: dict[str, Any]) -> None:
    """Send a text of `templates/accounts/`; blocks until the mail server has accepted it."""
    send_mail(subject, render_to_string(f"accounts/{template}", context), None, [address])

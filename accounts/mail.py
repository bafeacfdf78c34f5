"""The e-mail that users get."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from django.core.mail import send_mail
from django.db import connection
from django.template.loader import render_to_string

logger = logging.getLogger(__name__)

# The interpreter waits for these threads at its end: no mail is lost by a restart.
outbox = ThreadPoolExecutor(max_workers=2, thread_name_prefix="outbox")


def later(write: Callable[..., None], *arguments: Any) -> None:
    """Call `write` beside the request: its time does not tell whether there was mail to send."""
    outbox.submit(copy_context().run, _write, write, *arguments)


def _write(write: Callable[..., None], *arguments: Any) -> None:
    try:
        write(*arguments)
    except Exception:
        # Nobody waits for this thread's result, so what is not logged here is lost.
        logger.exception("A mail could not be sent")
    finally:
        connection.close()


def send(address: str, subject: str, template: str, context: dict[str, Any]) -> None:
    """Send one of the texts in `templates/accounts/`; blocks until the mail server has it."""
    send_mail(subject, render_to_string(f"accounts/{template}", context), None, [address])

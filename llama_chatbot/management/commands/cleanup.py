"""`manage.py cleanup`: what a server does by itself once an hour."""

from typing import Any

from django.core.management.base import BaseCommand

from core import cleanup
from llama_chatbot.cleanup import STEPS


class Command(BaseCommand):
    """Deletes what has expired, and what is left of deleted users and threads."""

    help = (
        "Deletes expired sessions, tokens and idempotency keys, and the rows of deleted users and "
        "threads. A running server does so by itself once an hour."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete it, in small batches."""
        deleted = cleanup.run(STEPS)
        if deleted is None:
            self.stdout.write("Another process is deleting these rows.")
        else:
            self.stdout.write(f"{deleted} rows deleted.")

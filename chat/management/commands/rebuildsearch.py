"""`manage.py rebuildsearch`: index all messages and titles again."""

from typing import Any

from django.core.management.base import BaseCommand

from chat.search.index import rebuild


class Command(BaseCommand):
    """Rebuilds the search index, with a progress bar."""

    help = (
        "Indexes all messages and titles again, while the server runs; what is found stays found. "
        "If it is interrupted, start it again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild it, and print when that is done."""
        for done, total in rebuild():
            self.stdout.write(f"\r{100 * done // total:3d} %", ending="")
            self.stdout.flush()
        self.stdout.write("\nThe search index is complete.")

"""`manage.py pullmodel NAME`: have Ollama download a model."""

from typing import Any

from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.ollama import client
from chat.ollama.errors import ModelError

BAR_WIDTH = 40


class Command(BaseCommand):
    """Pull a model, with a progress bar."""

    help = "Download a model into Ollama, such as llama3.2."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the model's name."""
        parser.add_argument("name", help="the model's name, as on ollama.com/library")

    def handle(self, *args: Any, **options: Any) -> None:
        """Pull the model, and print when it is ready."""
        before = ""
        try:
            for status, done, total in client.pull(options["name"]):
                if status != before:
                    self.stdout.write("\n" if before else "", ending="")
                    before = status
                self.stdout.write(f"\r{status} {progress(done, total)}", ending="")
                self.stdout.flush()
        except ModelError as error:
            self.stdout.write("\n" if before else "", ending="")
            raise CommandError(error.message) from None
        cache.delete(client.MODELS_CACHE_KEY)
        self.stdout.write(f"\nThe model {options['name']} is ready.")


def progress(done: int, total: int) -> str:
    """Return a bar with the share that has arrived and the total size; empty without a size."""
    if not total:
        return ""
    filled = BAR_WIDTH * done // total
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    return f"[{bar}] {100 * done // total:3d} % of {total / 1e9:.1f} GB"

"""`manage.py pullmodel NAME`: have Ollama download a model."""

from typing import Any

from django.core.cache import cache
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.ollama import client
from chat.ollama.errors import ModelError
from chat.ollama.placement import hosts

BAR_WIDTH = 40


class Command(BaseCommand):
    """Pull a model into every Ollama, with a progress bar."""

    help = "Download a model, such as llama3.2, into every Ollama that OLLAMA_HOST names."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the model's name."""
        parser.add_argument("name", help="the model's name, as on ollama.com/library")

    def handle(self, *args: Any, **options: Any) -> None:
        """Have each host pull the model, whether others fail or not; print when it is ready."""
        problems = []
        for host in hosts():
            if len(hosts()) > 1:
                self.stdout.write(f"{host}:")
            try:
                self.pull(host, options["name"])
            except ModelError as error:
                problems.append(error.message)
        cache.delete(client.MODELS_CACHE_KEY)
        if problems:
            raise CommandError(" ".join(problems))
        self.stdout.write(f"The model {options['name']} is ready.")

    def pull(self, host: str, model: str) -> None:
        """Have a host pull a model. Raises `ModelError`."""
        before = ""
        try:
            for status, done, total in client.pull(host, model):
                if status != before:
                    self.stdout.write("\n" if before else "", ending="")
                    before = status
                self.stdout.write(f"\r{status} {progress(done, total)}", ending="")
                self.stdout.flush()
        finally:
            self.stdout.write("\n" if before else "", ending="")


def progress(done: int, total: int) -> str:
    """Return a bar with the share that has arrived and the total size; empty without a size."""
    if not total:
        return ""
    filled = BAR_WIDTH * done // total
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    return f"[{bar}] {100 * done // total:3d} % of {total / 1e9:.1f} GB"

"""`manage.py importchats USER FILE`: import conversations into somebody's account."""

import asyncio
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from chat.ollama import transport
from chat.transfer import importing
from core.errors import ApiError

BAR_WIDTH = 40


class Command(BaseCommand):
    """Imports conversations, with a progress bar."""

    help = (
        "Imports a file of conversations into an account: an export of ours, of ChatGPT, of Open "
        "WebUI or of LibreChat, as JSON or in a ZIP. What is there already is not imported twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add whose they are, and where."""
        parser.add_argument("user", help="the name or the e-mail address of the account")
        parser.add_argument("file", type=Path, help="the file to import")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import them, and print what was left out."""
        user = User.objects.find(options["user"])
        if user is None:
            raise CommandError(f"There is no account {options['user']}.")
        try:
            with options["file"].open("rb") as file:
                for line in importing.run(user, file, asyncio.run(known_models())):
                    self.show(line)
        except OSError as error:
            raise CommandError(f"The file cannot be read: {error}") from None
        except ApiError as error:
            raise CommandError(error.message) from None

    def show(self, line: importing.Line) -> None:
        """Print a line of the report; progress is a bar that is written over."""
        match line["type"]:
            case "progress":
                share = line["bytes"] / (line["of"] or 1)
                filled = "#" * int(BAR_WIDTH * share)
                self.stdout.write(f"\r[{filled:.<{BAR_WIDTH}}] {share:4.0%}", ending="")
                self.stdout.flush()
            case "skipped":
                self.stdout.write(f"\rLeft out: {line['title'] or 'untitled'}: {line['reason']}")
            case "thread" if line["left_out"]:
                parts = ", ".join(f"{number} {kind}" for kind, number in line["left_out"].items())
                self.stdout.write(f"\rIn {line['title']!r}, left out: {parts}")
            case "end":
                self.stdout.write(
                    f"\r{line['threads']} threads with {line['messages']} messages were imported; "
                    f"{line['already_there']} were there already, {line['skipped']} were left out."
                )


async def known_models() -> set[str] | None:
    """Return the names of the models that Ollama has, if it answers."""
    try:
        return await importing.known_models()
    finally:
        await transport.close()

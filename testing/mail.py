"""A mail server of the tests' own."""

from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from testing.processes import free_port


class Mailbox(MessageHandler):
    """A real SMTP server, that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []
        port = free_port()
        self.url = f"smtp://127.0.0.1:{port}"
        self.controller = Controller(self, hostname="127.0.0.1", port=port)

    def handle_message(self, message: Any) -> None:
        """Keep a mail."""
        self.mails.append(message)

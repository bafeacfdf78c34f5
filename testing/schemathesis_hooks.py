"""What Schemathesis calls the server with (`SCHEMATHESIS_HOOKS`): ids that exist, and a login.

Its calls delete what they are made with: threads, sessions, the account itself. So each call finds
the user, and something of theirs, made anew where the last calls have deleted it.
`SCHEMATHESIS_CALLER` is how the user is known: by a `session` or by a `token`.
"""

import os
from collections.abc import Callable
from random import SystemRandom
from typing import Any

import django
import schemathesis

django.setup()

from accounts.models import Session, Token, User  # noqa: E402 - needs the settings
from chat.models import Message, Sender, Thread  # noqa: E402
from testing.people import create_session, create_user  # noqa: E402

NAME = "schemathesis"
OTHER_IDS = 0.1  # share of calls whose ids stay as they were generated


def user() -> User:
    """Return the user who calls."""
    rows = User.all_objects.filter(username=NAME)
    return rows.filter(deleted_at=None, is_active=True).first() or create_user(NAME, is_staff=True)


def message() -> Message:
    """Return the bot's message of a thread of the user's."""
    found = Message.objects.filter(
        thread__user=user(), thread__deleted_at=None, sender=Sender.BOT
    ).first()
    if found:
        return found
    thread = Thread.objects.create(user=user(), model="tiny")
    question = thread.messages.create(sender=Sender.USER, content="Hello")
    return thread.messages.create(
        sender=Sender.BOT, parent=question, content="You said: Hello", model="tiny"
    )


def public_id() -> int:
    """Return the id of another session of the user's."""
    return Session.objects.get(session_key=create_session(user())).public_id


IDS: dict[str, Callable[[], int | str]] = {
    "thread_id": lambda: message().thread_id,
    "message_id": lambda: message().pk,
    "session_id": public_id,
    "token_id": lambda: Token.objects.issue(user(), "another script", 1)[0].pk,
    "username": lambda: create_user(f"user-{SystemRandom().getrandbits(64)}").username,
}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Put ids that exist in the place of generated ones, where those are valid."""
    if SystemRandom().random() < OTHER_IDS:
        return
    for name, value in case.path_parameters.items():
        if name in IDS and (isinstance(value, int) or name == "username"):
            case.path_parameters[name] = IDS[name]()


@schemathesis.auth(refresh_interval=None)
class Caller:
    """Gives each call a session, or a token, that is valid."""

    def get(self, case: Any, context: Any) -> str:
        """Return the header's value."""
        if os.environ["SCHEMATHESIS_CALLER"] == "session":
            return f"sessionid={create_session(user())}"
        Token.objects.filter(user=user()).delete()
        return f"Bearer {Token.objects.issue(user(), 'my script', 1)[1]}"

    def set(self, case: Any, data: str, context: Any) -> None:
        """Set the header."""
        case.headers["Cookie" if data.startswith("sessionid=") else "Authorization"] = data

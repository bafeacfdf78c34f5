"""The session engine: Django's own in the database, with a column for the user.

Each session's data also tells when it began, was last seen, and from where.
"""

from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.db import IntegrityError
from django.http import HttpRequest
from django.utils import timezone

from accounts import statements
from accounts.models import Session, User
from core.addresses import client_address

LAST_SEEN_PRECISION = timedelta(minutes=1)


class SessionStore(DatabaseSessionStore):
    """Keeps the user's id beside the data, so that a user's sessions can be found and ended."""

    user: User | None = None  # who came along when the session was read

    def load(self) -> Any:
        """Read the session's data, and its user."""
        self.user = statements.get_user_of_session(str(self.session_key))
        if self.user is None:
            return super().load()  # nobody's, or none
        return self.decode(self.user.session_data)  # type: ignore[attr-defined]

    def _validate_session_key(self, key: str | None) -> bool:
        """Tell whether this may be a key at all; a database may not even look for a NUL."""
        return super()._validate_session_key(key) and str(key).isalnum()  # type: ignore[misc]

    def save(self, must_create: bool = False) -> None:
        """Store the session. Raises `IntegrityError` where its user has been deleted."""
        try:
            super().save(must_create)
        except CreateError as error:
            # `create` takes it for a key that somebody has, and would try others for ever.
            user_id = self.get(auth.SESSION_KEY)
            if user_id and not User.objects.filter(pk=user_id).exists():
                raise IntegrityError("The session's user has been deleted.") from error
            raise

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """Return the model of the rows."""
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """Return the row for `data`."""
        session = cast(Session, super().create_model_instance(data))
        session.user_id = data.get(auth.SESSION_KEY)
        return session


def on_login(request: HttpRequest, user: User, **signal: Any) -> None:
    """Note when and from where somebody logged in, here or in the admin.

    Their sessions that have expired are cleared away.
    """
    if request.session.session_key == request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        request.session.cycle_key()  # Django leaves the key as it is to who logs in once more
    now = timezone.now()
    user.session_set.filter(expire_date__lte=now).delete()
    request.session.update(
        {
            "created_at": now.isoformat(),
            "last_seen_at": now.isoformat(),
            "password_at": now.isoformat(),
            "ip_address": client_address(request),
            "user_agent": request.headers.get("User-Agent", "")[:300],
        }
    )


def mark_seen(request: HttpRequest) -> None:
    """Note that the session is in use, at most once a minute: each note is a write."""
    now = timezone.now()
    last_seen_at = request.session.get("last_seen_at")
    if not last_seen_at or now - datetime.fromisoformat(last_seen_at) > LAST_SEEN_PRECISION:
        request.session["last_seen_at"] = now.isoformat()


def list_living(user: User, current: str | None) -> list[dict[str, Any]]:
    """Return what a user may know of their own living sessions, the last begun first.

    `current` is the key of the session that asks.
    """
    known = ("created_at", "last_seen_at", "ip_address", "user_agent")
    living = user.session_set.filter(expire_date__gt=timezone.now())
    described = [
        {
            "id": session.public_id,
            "current": session.session_key == current,
            **{name: data.get(name) for name in known},
        }
        for session in living
        for data in [session.get_decoded()]
    ]
    return sorted(described, key=lambda session: session["created_at"] or "", reverse=True)


def mark_password_given(request: HttpRequest) -> None:
    """Note that the user has just proved who they are."""
    request.session["password_at"] = timezone.now().isoformat()


def has_recent_password(request: HttpRequest) -> bool:
    """Tell whether the password was given within `RECENT_LOGIN_SECONDS`."""
    password_at: str | None = request.session.get("password_at")
    limit = timedelta(seconds=settings.RECENT_LOGIN_SECONDS)
    return bool(password_at and timezone.now() - datetime.fromisoformat(password_at) < limit)

"""The session engine: Django's own in the database, with a column for the user.

Each session's data also has when and from where it began, and when it was last seen.
"""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.db import IntegrityError, models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince

from accounts import statements, user_agents
from accounts.models import Session, User
from core import paging
from core.addresses import client_address

LAST_SEEN_PRECISION = timedelta(minutes=1)


class SessionStore(DatabaseSessionStore):
    """Stores the user's id beside the data, so that a user's sessions can be found and ended."""

    user: User | None = None  # loaded together with the session

    def load(self) -> Any:
        """Load the session's data, and its user."""
        self.user = statements.get_session_user(str(self.session_key))
        if self.user is None:
            return super().load()  # a session without a user, or none at all
        data = self.decode(self.user.session_data)  # type: ignore[attr-defined]
        # One from before there were public ids must keep its own when it gets another key.
        data.setdefault("public_id", derived_id(str(self.session_key)))
        if not self.user.session_public_id:  # type: ignore[attr-defined]
            self.modified = True
        return data

    def _validate_session_key(self, key: str | None) -> bool:
        """Return whether this can be a key at all: PostgreSQL refuses to look for a NUL.

        Private part of Django: `SessionBase._validate_session_key`, which every key goes through.
        Without it a cookie with a NUL is a 500 on PostgreSQL. Then refuse such keys in `__init__`.
        """
        return super()._validate_session_key(key) and str(key).isalnum()  # type: ignore[misc]

    def save(self, must_create: bool = False) -> None:
        """Store the session. Raises `IntegrityError` where its user has been deleted."""
        try:
            super().save(must_create)
        except CreateError as error:
            # `create` takes it for a key that is in use, and would try other keys for ever.
            user_id = self.get(auth.SESSION_KEY)
            if user_id and not User.objects.filter(pk=user_id).exists():
                raise IntegrityError("The session's user has been deleted.") from error
            raise

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """Return the sessions' model."""
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """Return the row for `data`."""
        session = cast(Session, super().create_model_instance(data))
        session.user_id = data.get(auth.SESSION_KEY)
        session.public_id = data.get("public_id") or derived_id(str(session.session_key))
        if created_at := data.get("created_at"):
            session.created_at = datetime.fromisoformat(created_at)
        return session


def derived_id(session_key: str) -> int:
    """Return the public id of a session that was not given one at its login."""
    return int(sha256(session_key.encode()).hexdigest()[:13], 16)


def public_id(request: HttpRequest) -> int:
    """Return the public id of a session that has a user."""
    return int(request.session["public_id"])


def initialize(request: HttpRequest, user: User, **signal: Any) -> None:
    """Describe a new session, of the API or the admin, and delete the user's expired ones."""
    if request.session.session_key == request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        request.session.cycle_key()  # Django keeps the key when the same user logs in again
    now = timezone.now()
    user.session_set.filter(expire_date__lte=now).delete()
    request.session.update(
        {
            "public_id": secrets.randbits(52),
            "created_at": now.isoformat(),
            "last_seen_at": now.isoformat(),
            "password_at": now.isoformat(),
            "ip_address": client_address(request),
            "user_agent": request.headers.get("User-Agent", "")[:300],
        }
    )


def mark_seen(request: HttpRequest) -> None:
    """Record that the session is in use, at most once a minute: each time is a write."""
    now = timezone.now()
    last_seen_at = request.session.get("last_seen_at")
    if not last_seen_at or now - datetime.fromisoformat(last_seen_at) > LAST_SEEN_PRECISION:
        request.session["last_seen_at"] = now.isoformat()


def list_active(user: User) -> QuerySet[Session]:
    """Return a user's active sessions, newest first."""
    active = user.session_set.filter(expire_date__gt=timezone.now())
    return active.order_by("-created_at", "-public_id")


def page(
    user: User, limit: int, cursor: str, current: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return up to `limit` of a user's active sessions, newest first, and the next cursor.

    `current` is the key of the session that asks.
    """
    name = f"sessions of {user.pk}"
    sessions = list_active(user)
    if cursor:
        created_at, public_id = paging.decode(cursor, name)
        began = datetime.fromisoformat(created_at)
        sessions = sessions.filter(created_at__lte=began).exclude(
            created_at=began, public_id__gte=public_id
        )
    rows, following = paging.page(
        sessions[: limit + 1], limit, name, lambda row: (row.created_at.isoformat(), row.public_id)
    )
    described = [describe(row) | {"current": row.session_key == current} for row in rows]
    return described, following


def find(user: User, public_id: int) -> Session | None:
    """Return the user's session with this public id."""
    if public_id > models.BigIntegerField.MAX_BIGINT:
        return None
    without_id = (s for s in user.session_set.filter(public_id=0) if id_of(s) == public_id)
    return user.session_set.filter(public_id=public_id).first() or next(without_id, None)


def id_of(session: Session) -> int:
    """Return the public id of a session, also of one that release 1.0 has stored."""
    return session.public_id or derived_id(session.session_key)


def describe(session: Session) -> dict[str, Any]:
    """Return what a user may see of a session."""
    data = session.get_decoded()
    names = ("created_at", "last_seen_at", "ip_address", "user_agent")
    return {"id": id_of(session), **{name: data.get(name) for name in names}}


def describe_in_words(session: Session, request: HttpRequest) -> dict[str, Any]:
    """Return what an operator may see of a session, as "Firefox on Linux", "5 minutes ago"."""
    described = describe(session)
    return {
        **described,
        "program": user_agents.in_words(described["user_agent"]),
        "seen": _time_ago(described["last_seen_at"]),
        "began": _time_ago(described["created_at"]),
        "is_current": session.session_key == request.session.session_key,
    }


def _time_ago(moment: str | None) -> str:
    return time_ago(datetime.fromisoformat(moment)) if moment else "at an unknown time"


def time_ago(then: datetime) -> str:
    """Return how long ago a moment was, in one unit: "5 minutes ago"."""
    if timezone.now() - then < timedelta(minutes=1):
        return "just now"
    return f"{timesince(then, depth=1)} ago".replace("\xa0", " ")


def mark_password_confirmed(request: HttpRequest) -> None:
    """Record that the user has just given their password."""
    request.session["password_at"] = timezone.now().isoformat()


def has_confirmed_password_recently(request: HttpRequest) -> bool:
    """Return whether the password was given within `RECENT_LOGIN_SECONDS`."""
    password_at: str | None = request.session.get("password_at")
    limit = timedelta(seconds=settings.RECENT_LOGIN_SECONDS)
    return bool(password_at and timezone.now() - datetime.fromisoformat(password_at) < limit)


def cookie_trap(request: HttpRequest) -> str | None:
    """Return why the page that logs in will not be sent its cookie back, if that can be seen.

    `localhost` and `127.0.0.1` are one machine, but to a browser two sites.
    """
    page = urlsplit(request.headers.get("Origin", "")).hostname
    server = urlsplit(f"//{request.get_host()}").hostname
    is_trap = page != server and {page, server} <= {"localhost", "127.0.0.1", "::1"}
    if not is_trap or settings.SESSION_COOKIE_SAMESITE == "None":
        return None
    return (
        f"The page is on {page} and calls {server}: these are two sites, so the browser will not "
        f"send the session's cookie. Have the page call {page}, or open it on {server}."
    )

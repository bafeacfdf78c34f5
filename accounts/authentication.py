"""Who is asking: the user of a session, or of a token."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpRequest

from accounts import sessions
from accounts.models import Token, User
from core.errors import Forbidden, NotAuthenticated
from core.logs import current_request


class Backend(ModelBackend):
    """Django's own, which takes the user whom the request's session has brought along."""

    def get_user(self, user_id: int) -> User | None:
        """Return the active user of that id."""
        request = current_request.get()
        user: User | None = getattr(getattr(request, "session", None), "user", None)
        if user is None or user.pk != user_id:
            return super().get_user(user_id)
        return user if self.user_can_authenticate(user) else None


class UserRequest(HttpRequest):
    """A request of somebody who is logged in, as Ninja hands it to a view."""

    auth: User


def session(request: HttpRequest) -> User | None:
    """Return the user of the request's session cookie; reads the database.

    Raises `Forbidden` where there is a token in its place, which is not enough.
    """
    user = user_of_session(request)
    if user is None and bearer(request):
        raise Forbidden("A token cannot do this: log in with your password.")
    return user


def session_or_token(request: HttpRequest) -> User | None:
    """Return the user of the `Authorization: Bearer` token, or without one, of the session."""
    secret = bearer(request)
    if not secret:
        return user_of_session(request)
    token = Token.objects.find(secret)
    if token is None:
        raise NotAuthenticated("The token is not valid: it may have expired or been revoked.")
    request.user = token.user
    token.mark_used()
    return token.user


def anybody(request: HttpRequest) -> User | AnonymousUser:
    """Return whoever asks, logged in or not."""
    return session_or_token(request) or AnonymousUser()


def bearer(request: HttpRequest) -> str:
    """Return the secret of the `Authorization: Bearer` header, empty where there is none."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def user_of_session(request: HttpRequest) -> User | None:
    """Return the user of the session cookie, noting that the session is in use."""
    if not request.user.is_authenticated:
        return None
    sessions.mark_seen(request)
    return request.user


@contextmanager
def unauthenticated_if_deleted(user: User) -> Iterator[None]:
    """Raise `NotAuthenticated` where something fails because the user was deleted meanwhile."""
    try:
        yield
    except DatabaseError:
        if User.objects.filter(pk=user.pk).exists():
            raise
        raise NotAuthenticated from None

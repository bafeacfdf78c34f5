"""Authenticates requests, by session or by token."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import HttpRequest

from accounts import sessions
from accounts.models import Session, Token, User
from accounts.streams import Credential
from core import ratelimit
from core.errors import ApiError, Forbidden, NotAuthenticated
from core.logs import current_request


class Backend(ModelBackend):
    """Django's own backend, using the user that was loaded with the request's session."""

    def get_user(self, user_id: int) -> User | None:
        """Return the active user with this id."""
        request = current_request.get()
        user: User | None = getattr(getattr(request, "session", None), "user", None)
        if user is None or user.pk != user_id:
            return super().get_user(user_id)
        return user if self.user_can_authenticate(user) else None


class UserRequest(HttpRequest):
    """The request of a logged-in user, as Ninja passes it to a view."""

    auth: User


def session_only(request: HttpRequest) -> User | None:
    """Return the user of the session cookie, and count the call; reads the database.

    Raises `Forbidden` where the request has a token instead, and `RateLimited`.
    """
    user = get_session_user(request)
    if user is None and get_bearer_token(request):
        raise Forbidden("A token cannot do this: log in with your password.")
    return counted(request, user)


def session_or_token(request: HttpRequest) -> User | None:
    """Return the user of the `Authorization: Bearer` token, or without one, of the session.

    The call is counted, as the user's, or with a wrong token as the address's. Raises
    `NotAuthenticated` for that, and `RateLimited`.
    """
    secret = get_bearer_token(request)
    if not secret:
        return counted(request, get_session_user(request))
    token = Token.objects.find(secret)
    if token is None:
        ratelimit.count(request, "login", f"token:{ratelimit.key_of_address(request)}")
        raise NotAuthenticated("The token is not valid: it may have expired or been revoked.")
    request.user = token.user
    request.credential = Credential(Token, token.pk)  # type: ignore[attr-defined]
    token.mark_used()
    return counted(request, token.user)


def optional(request: HttpRequest) -> User | AnonymousUser:
    """Return the user of the token or the session, or an anonymous one, and count the call."""
    return session_or_token(request) or anybody(request)


def anybody(request: HttpRequest) -> AnonymousUser:
    """Return an anonymous user, whoever calls, and count the call as the address's."""
    ratelimit.count_call(request, ratelimit.key_of_address(request))
    return AnonymousUser()


def counted(request: HttpRequest, user: User | None) -> User | None:
    """Count the call of a user, if there is one, and return the user. Raises `RateLimited`."""
    if user:
        ratelimit.count_call(request, f"u:{user.pk}")
    return user


def get_bearer_token(request: HttpRequest) -> str:
    """Return the token in the `Authorization: Bearer` header, or an empty string."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def get_session_user(request: HttpRequest) -> User | None:
    """Return the user of the session cookie, and mark the session as used."""
    if not request.user.is_authenticated:
        return None
    request.credential = Credential(Session, sessions.public_id(request))  # type: ignore[attr-defined]
    sessions.mark_seen(request)
    return request.user


@contextmanager
def unauthenticated_if_deleted(
    user: User, error: type[ApiError] = NotAuthenticated
) -> Iterator[None]:
    """Raise `error` where a write fails because the user has been deleted in the meantime.

    The session, which names the user, could not be stored either, so it is emptied.
    """
    try:
        yield
    except DatabaseError:
        if User.objects.filter(pk=user.pk).exists():
            raise
        if request := current_request.get():
            request.session.flush()
        raise error from None

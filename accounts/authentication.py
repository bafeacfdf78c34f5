"""Who is asking: the user of a session, or of a token."""

from django.http import HttpRequest
from django.utils import timezone

from accounts import sessions
from accounts.models import Token, User
from llama_chatbot.errors import NotAuthenticated


class UserRequest(HttpRequest):
    """A request of somebody who is logged in, as Ninja hands it to a view."""

    auth: User


def session(request: HttpRequest) -> User | None:
    """Return the user of the request's session cookie; reads the database."""
    if not request.user.is_authenticated:
        return None
    sessions.has_been_seen(request)
    return request.user


def session_or_token(request: HttpRequest) -> User | None:
    """Return the user of the `Authorization: Bearer` token, or without one, of the session."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return session(request)
    token = Token.objects.find(secret.strip())
    if token is None:
        raise NotAuthenticated("The token is not valid: it may have expired or been revoked.")
    token.has_been_used(timezone.now())
    request.user = token.user
    return token.user

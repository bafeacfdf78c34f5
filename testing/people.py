"""People as tests know them: users with a session, and how they call the API."""

import ssl
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any

import httpx
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from accounts.models import Token, User
from chat.models import Thread
from testing.answers import cookie_of

PASSWORD = "corr3ct-horse-battery"
TLS = ssl.create_default_context()  # nobody uses it, and each client would make its own in 50 ms


@cache
def hashed(password: str) -> str:
    """Return a password's hash, the same for all users."""
    return make_password(password, "the-salt-of-all-the-tests")


def create_user(name: str, **fields: Any) -> User:
    """Create a user with `PASSWORD`."""
    password = hashed(PASSWORD)
    email = fields.pop("email", f"{name}@example.com")
    return User.objects.create(username=name, email=email, password=password, **fields)


def create_session(user: User, **data: Any) -> str:
    """Log a user in without the API; return the session's key."""
    now = timezone.now().isoformat()
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session.update(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
            HASH_SESSION_KEY: user.get_session_auth_hash(),
            "created_at": now,
            "last_seen_at": now,
            "password_at": now,
            **data,
        }
    )
    session.create()
    return str(session.session_key)


def long_ago() -> str:
    """Return a time at which nobody would call a login recent."""
    return (timezone.now() - timedelta(hours=1)).isoformat()


class Caller(httpx.Client):
    """Somebody who calls the API of one server, logged in or not.

    The session's cookie is sent by hand: a client's own jar keeps Secure cookies from plain HTTP.
    """

    def __init__(
        self,
        url: str,
        user: User | None = None,
        *,
        tls: ssl.SSLContext = TLS,
        **session: Any,
    ) -> None:
        self.user = user
        headers = {"Cookie": f"sessionid={create_session(user, **session)}"} if user else {}
        super().__init__(base_url=url, headers=headers, timeout=20, verify=tls)

    def thread(self, **fields: Any) -> Thread:
        """Create a thread of this caller's without the API."""
        assert self.user
        return Thread.objects.create(user=self.user, **{"model": settings.OLLAMA_MODEL, **fields})

    def say(self, thread: Thread, message: str = "Hello", **arguments: Any) -> httpx.Response:
        """Send a message and return the whole streamed answer, as text or as `Accept` says."""
        url = f"/chat/streaming-response/{thread.pk}/"
        return self.post(url, json={"message": message}, **arguments)


def log_in(url: str, name: str, password: str) -> Caller:
    """Log in by the API; return somebody who calls it with the cookie."""
    caller = Caller(url)
    answer = caller.post("/auth/login/", json={"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    caller.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    return caller


def token_of(caller: Caller) -> str:
    """Create a token of somebody's without the API; return its secret."""
    assert caller.user
    return Token.objects.issue(caller.user, "my script", 1)[1]


def is_logged_in(caller: Caller) -> bool:
    """Return whether the API knows who is calling."""
    return bool(caller.get("/auth/status/").json()["authenticated"])

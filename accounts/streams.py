"""Ends the streams of a session or a token that has ended in the meantime.

Every process asks now and then which of those that its streams began with are still valid, all in
one query. Not each stream on its own: there may be a thousand.
"""

import asyncio
import contextvars
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import NamedTuple, TypeVar

from django.db import DatabaseError
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Session, Token
from core.database import followers, in_background
from core.errors import NotAuthenticated

CHECK_SECONDS = 2.0
GRACE_SECONDS = 1.5  # in which a reply that was stopped with its user says so first

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class Credential(NamedTuple):
    """What a request was authenticated by: a session's public id, or a token's id."""

    model: type[Session] | type[Token]
    id: int


class LoginEnded(NotAuthenticated):
    """The session or the token that a stream began with has ended."""

    message = "Your login has ended: log in again."


class WatchedStream:
    """A stream that ends with the credential it began with."""

    def __init__(self) -> None:
        self.has_ended = False
        self.waiting: asyncio.Task[object] | None = None  # the task that waits for the next item

    def end(self) -> None:
        """End the stream, unless it has ended."""
        if not self.has_ended:
            self.has_ended = True
            if self.waiting:
                self.waiting.cancel()


class Watch:
    """The streams of this process, by their credentials."""

    def __init__(self) -> None:
        self.streams: dict[Credential, set[WatchedStream]] = defaultdict(set)
        self._checks: asyncio.Task[None] | None = None

    async def follow(
        self, credential: Credential, items: AsyncIterator[Item]
    ) -> AsyncIterator[Item]:
        """Yield the items. Raises `LoginEnded` when the credential is no longer valid."""
        stream = WatchedStream()
        self.streams[credential].add(stream)
        if self._checks is None or self._checks.done():
            checking, context = self._check_now_and_then(), contextvars.Context()
            self._checks = asyncio.get_running_loop().create_task(checking, context=context)
        try:
            while True:
                task = stream.waiting = asyncio.current_task()
                try:
                    if stream.has_ended:
                        raise LoginEnded
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    # By `end`, unless somebody else has cancelled the task as well.
                    if stream.has_ended and task and task.uncancel() == 0:
                        raise LoginEnded from None
                    raise
                finally:
                    stream.waiting = None
                yield item
        finally:
            self.streams[credential].discard(stream)
            if not self.streams[credential]:
                del self.streams[credential]

    async def _check_now_and_then(self) -> None:
        while self.streams:
            await asyncio.sleep(CHECK_SECONDS)
            watched = list(self.streams)
            try:
                valid = await in_background(followers, find_valid, watched)
            except DatabaseError as error:
                logger.error("Which logins have ended could not be read: %s", error)
                continue
            for credential in watched:
                if credential not in valid:
                    for stream in self.streams.get(credential, ()):
                        asyncio.get_running_loop().call_later(GRACE_SECONDS, stream.end)


watch = Watch()
"""The watch of this process."""


def find_valid(credentials: list[Credential]) -> set[Credential]:
    """Return those that have not ended; blocks on the database."""
    now = timezone.now()
    sessions = [credential.id for credential in credentials if credential.model is Session]
    tokens = [credential.id for credential in credentials if credential.model is Token]
    valid_sessions = Session.objects.filter(
        public_id__in=sessions, expire_date__gt=now, user__is_active=True
    ).values_list("public_id", flat=True)
    valid_tokens = Token.objects.valid().filter(pk__in=tokens, user__is_active=True)
    return {
        *(Credential(Session, public_id) for public_id in valid_sessions),
        *(Credential(Token, pk) for pk in valid_tokens.values_list("pk", flat=True)),
    }


def while_logged_in(request: HttpRequest, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """Return the items as long as the session or token of the request is valid.

    Where it ends, at the latest some seconds later, the next item raises `LoginEnded`.
    """
    credential: Credential = request.credential  # type: ignore[attr-defined]
    return watch.follow(credential, items)

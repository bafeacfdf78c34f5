"""Tokens: what scripts use instead of a session."""

import logging
import secrets
from datetime import timedelta
from hashlib import sha256

from django.db import DatabaseError, models, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.models.users import User
from core import audit
from core.database import outage
from core.errors import ApiError

logger = logging.getLogger(__name__)


class TokenManager(models.Manager["Token"]):
    """Creates tokens, and finds the one that a request carries."""

    def valid(self) -> models.QuerySet["Token"]:
        """Return the tokens that have not expired."""
        return self.filter(expires_at__gt=timezone.now())

    def issue(self, user: User, name: str, days: int) -> tuple["Token", str]:
        """Create a token; return it with its secret, which is not stored.

        Raises `ApiError` if the user has too many.
        """
        prefix = secrets.token_hex(Token.PREFIX_BYTES)
        secret = f"llama_{prefix}_{secrets.token_urlsafe(32)}"
        with transaction.atomic():
            User.objects.lock(user.pk)  # so that several at once are not one too many
            if self.valid().filter(user=user).count() >= Token.MAX_PER_USER:
                raise ApiError(f"You have {Token.MAX_PER_USER} tokens: revoke one first.")
            token = self.create(
                user=user,
                name=name,
                prefix=prefix,
                digest=sha256(secret.encode()).hexdigest(),
                expires_at=timezone.now() + timedelta(days=days),
            )
        audit.record("token_created", user.pk, token=token.pk)
        return token, secret

    def find(self, secret: str) -> "Token | None":
        """Return the valid token of an active user with this secret, or None."""
        prefix = secret[len("llama_") :].partition("_")[0]
        digest = sha256(secret.encode()).hexdigest()
        valid = self.valid().filter(user__is_active=True)
        for token in valid.select_related("user").filter(prefix=prefix):
            if constant_time_compare(token.digest, digest):
                return token
        return None


class Token(models.Model):
    """A script's key to the API, used instead of a session."""

    PREFIX_BYTES = 4
    MAX_PER_USER = 50
    USE_PRECISION = timedelta(minutes=1)

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=PREFIX_BYTES * 2, db_index=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = TokenManager()

    def __str__(self) -> str:
        return self.name

    def mark_used(self) -> None:
        """Record the use, at most once a minute: only people read it."""
        now = timezone.now()
        if self.last_used_at and now - self.last_used_at < self.USE_PRECISION:
            return
        # Compared again in the database, so that of many uses at once only one is recorded.
        unchanged = Token.objects.filter(pk=self.pk, last_used_at=self.last_used_at)
        try:
            if unchanged.update(last_used_at=now):
                audit.record("token_used", self.user_id, token=self.pk)
        except DatabaseError as error:
            if outage(error) is None:
                raise
            # Where the disk is full, what only reads goes on.
            logger.warning("The use of token %s is not recorded: %s", self.pk, error)

    def revoke(self) -> None:
        """Delete the token and record it."""
        audit.record("token_revoked", self.user_id, token=self.pk)
        self.delete()

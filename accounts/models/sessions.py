"""Sessions: the logins of users."""

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models.users import User
from core import audit


class Session(AbstractBaseSession):
    """A login and its user; everything else about it is in its data."""

    user = models.ForeignKey(User, models.CASCADE, null=True, db_index=False)
    # Identifies the session without revealing its key, and stays the same when the key changes. It
    # has 52 bits, so that JavaScript represents it exactly. Release 1.0 stores none.
    public_id = models.BigIntegerField(db_index=True, db_default=0)
    created_at = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta(AbstractBaseSession.Meta):
        indexes = [
            models.Index(
                F("user"), F("created_at").desc(), F("public_id").desc(), name="sessions_of_user"
            )
        ]

    def __str__(self) -> str:
        return f"Session {self.public_id}"  # not the key, as in Django: the admin would show it

    @classmethod
    def get_session_store_class(cls) -> type[SessionStore]:
        """Return a store that decodes these rows; `sessions.py` has the one that stores them."""
        return SessionStore

    def end(self) -> None:
        """Log out of this session."""
        self.delete()
        audit.record("sessions_ended", self.user_id, number=1)

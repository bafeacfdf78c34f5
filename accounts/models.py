"""Users, and the two things that stand for one in a request: sessions and tokens."""

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Lower
from django.http import Http404
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts import mail
from accounts.signals import access_ended
from core import audit
from core.errors import ApiError

models.CharField.register_lookup(Lower)


class UserManager(DjangoUserManager["User"]):
    """Finds users by name or e-mail address, whatever the case."""

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the address without space around it, its domain in lower case."""
        return super().normalize_email((email or "").strip())

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user of that name or e-mail address. Raises `User.DoesNotExist`.

        No name holds an @, so one text never means two users.
        """
        name = (username or "").strip().lower()
        return self.get(email__lower=name) if "@" in name else self.get(username__lower=name)

    def find(self, name: str) -> "User | None":
        """Return the user of that name or e-mail address, if there is one."""
        try:
            return self.get_by_natural_key(name)
        except User.DoesNotExist:
            return None

    def lock(self, pk: int) -> bool:
        """Keep a user from being deleted until the transaction ends; return whether they exist.

        To be called before anything else of theirs is locked, as a deletion does. One at a time.
        """
        return self.select_for_update(no_key=True).filter(pk=pk).exists()

    def register(self, username: str, email: str, password: str) -> "User":
        """Create a user. Raises `ValidationError` with what is wrong with each field."""
        user = self.model(username=username, email=self.normalize_email(email))
        problems: dict[str, Any] = {}
        try:
            user.full_clean(exclude=["password"])
        except ValidationError as error:
            problems = error.error_dict
        try:
            validate_password(password, user)
        except ValidationError as error:
            problems["password"] = error.error_list
        if problems:
            raise ValidationError(problems)

        user.set_password(password)
        user.save_unless_taken()
        audit.record("registration", user.pk)
        return user


class User(AbstractUser):
    """Somebody with an account; name and e-mail address are unique whatever their case."""

    # English letters, because SQLite folds the case of no others.
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_.+-]+\Z",
                "Use only the letters A to Z, digits and the characters _ . + -",
            )
        ],
        error_messages={"unique": "This name is taken."},
    )
    email = models.EmailField("e-mail address")
    daily_tokens = models.PositiveIntegerField(
        "tokens a day",
        null=True,
        blank=True,
        help_text="How many tokens this user may use a day: empty for the server's setting "
        "CHAT_DAILY_TOKENS, 0 for no limit.",
    )

    objects: ClassVar[UserManager] = UserManager()

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(Lower("username"), name="username_is_unique"),
            models.UniqueConstraint(Lower("email"), name="email_is_unique"),
        ]

    def validate_constraints(self, exclude: Any = None) -> None:
        """Say of a name or an address that is taken which of the two it is."""
        others, excluded = User.objects.exclude(pk=self.pk), exclude or ()
        taken = {}
        # A form that refuses a field leaves it out here, and empty.
        if "username" not in excluded and others.filter(username__lower=self.username.lower()):
            taken["username"] = "This name is taken."
        if "email" not in excluded and others.filter(email__lower=self.email.lower()):
            taken["email"] = "This e-mail address is taken."
        if taken:
            raise ValidationError(taken)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new password of somebody who has an account goes into the audit log."""
        has_new_password = self._password is not None and not self._state.adding  # type: ignore[attr-defined]
        super().save(*args, **kwargs)
        if has_new_password:
            audit.record("password_changed", self.pk)

    def save_unless_taken(self, update_fields: list[str] | None = None) -> None:
        """Save; raises `ValidationError` where somebody has taken the name since it was checked."""
        try:
            with transaction.atomic():
                self.save(update_fields=update_fields)
        except IntegrityError:
            self.full_clean(exclude=["password"])
            raise

    def change_email(self, email: str) -> None:
        """Take another address; the one before is told. Raises `ValidationError`."""
        before, self.email = self.email, User.objects.normalize_email(email)
        self.full_clean(exclude=["password"])
        if self.email == before:
            return
        self.save_unless_taken(["email"])
        audit.record("email_changed", self.pk)
        context = {"username": self.username, "email": self.email}
        mail.later(mail.send, before, "Your e-mail address", "email_changed.txt", context)

    def may_deactivate(self, user: "User") -> bool:
        """Tell whether this member of the staff may: never themselves, nor somebody above them."""
        return self.is_staff and self != user and (self.is_superuser or not user.is_superuser)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the account with all that belongs to it."""
        with transaction.atomic():
            # Locked, so that nothing is added to what has been collected for deletion.
            if not User.objects.select_for_update().filter(pk=self.pk).exists():
                return 0, {}
            access_ended.send(User, user=self)
            return super().delete(*args, **kwargs)

    def deactivate(self, reason: str = "") -> None:
        """End everything this user can do here, at once; the reason goes into the audit log.

        Raises `Http404` for one who has been deleted.
        """
        with transaction.atomic():
            self.is_active = False
            if not User.objects.filter(pk=self.pk).update(is_active=False):
                raise Http404
            self.session_set.all().delete()
            self.tokens.all().delete()
        access_ended.send(User, user=self)
        audit.record("deactivation", self.pk, reason=reason)

    def reactivate(self) -> bool:
        """Let this user log in again; old sessions and tokens stay ended.

        Returns False for somebody who is active, to whom nothing happens.
        """
        with transaction.atomic():
            # Asked in the database: of two operators at once, the second would end a new login.
            deactivated = User.objects.filter(pk=self.pk, is_active=False)
            if not deactivated.update(is_active=True):
                return False
            # A login that was under way when the user was deactivated may have left one.
            self.session_set.all().delete()
            self.tokens.all().delete()
        self.is_active = True
        audit.record("reactivation", self.pk)
        return True

    def end_sessions(self, but: str | None = None) -> None:
        """Log out everywhere, or everywhere `but` in the session of that key."""
        ended, _ = self.session_set.exclude(session_key=but).delete()
        if ended:
            audit.record("sessions_ended", self.pk, number=ended)


class Session(AbstractBaseSession):
    """A login, with the user it belongs to; what else is known of it stands in its data."""

    user = models.ForeignKey(User, models.CASCADE, null=True)

    class Meta(AbstractBaseSession.Meta):
        pass

    def __str__(self) -> str:
        return f"Session {self.public_id}"  # not the key, as Django does: the admin shows it

    @classmethod
    def get_session_store_class(cls) -> type[SessionStore]:
        """Return a store that decodes these rows; the one that keeps them is in `sessions.py`."""
        return SessionStore

    @property
    def public_id(self) -> int:
        """A number to name the session by, which does not give its key away.

        It has 52 bits, so that it is exact in JavaScript too.
        """
        return int(sha256(self.session_key.encode()).hexdigest()[:13], 16)

    def end(self) -> None:
        """Log out where this session is used."""
        self.delete()
        audit.record("sessions_ended", self.user_id, number=1)


class TokenManager(models.Manager["Token"]):
    """Makes tokens, and finds the one that a request carries."""

    def issue(self, user: User, name: str, days: int) -> tuple["Token", str]:
        """Create a token for `user`; return it with its secret, which is stored nowhere.

        Raises `ApiError` for somebody who has too many.
        """
        if user.tokens.count() >= Token.MAX_PER_USER:
            raise ApiError(f"You have {Token.MAX_PER_USER} tokens: revoke one first.")
        prefix = secrets.token_hex(Token.PREFIX_BYTES)
        secret = f"llama_{prefix}_{secrets.token_urlsafe(32)}"
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
        """Return the living token of an active user that has this secret."""
        prefix = secret[len("llama_") :].partition("_")[0]
        digest = sha256(secret.encode()).hexdigest()
        living = self.select_related("user").filter(
            expires_at__gt=timezone.now(), user__is_active=True
        )
        for token in living.filter(prefix=prefix):
            if constant_time_compare(token.digest, digest):
                return token
        return None


class Token(models.Model):
    """A script's key to the API, in the place of a session."""

    PREFIX_BYTES = 4
    MAX_PER_USER = 50
    USE_PRECISION = timedelta(minutes=1)

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=PREFIX_BYTES * 2, db_index=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    objects = TokenManager()

    def __str__(self) -> str:
        return self.name

    def mark_used(self) -> None:
        """Note the use, at most once a minute: it is read by people."""
        now = timezone.now()
        if self.last_used_at and now - self.last_used_at < self.USE_PRECISION:
            return
        # Compared again in the database, so that of many uses at once one is noted.
        unchanged = Token.objects.filter(pk=self.pk, last_used_at=self.last_used_at)
        if unchanged.update(last_used_at=now):
            audit.record("token_used", self.user_id, token=self.pk)

    def revoke(self) -> None:
        """Let the token serve no more."""
        audit.record("token_revoked", self.user_id, token=self.pk)
        self.delete()

"""Users."""

from functools import partial
from typing import Any, ClassVar

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import DatabaseError, IntegrityError, models, transaction
from django.db.models.functions import Lower
from django.http import Http404
from django.utils import timezone

from accounts import mail
from accounts.signals import access_ended
from core import audit, cleanup

models.CharField.register_lookup(Lower)


class UserDeleted(DatabaseError):
    """A user who has been deleted cannot be saved.

    Their row may still be there, or it may not, for which Django raises other database errors.
    """


class UserManager(DjangoUserManager["User"]):
    """Finds users by name or e-mail address, in any case.

    Users who are being deleted are only in `User.all_objects`.
    """

    def get_queryset(self) -> models.QuerySet["User"]:
        """Return the users that there are."""
        return super().get_queryset().filter(deleted_at=None)

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the address without surrounding spaces, its domain in lower case.

        Left as it is where it is not ASCII, and so is refused: some letters become ASCII.
        """
        address = (email or "").strip()
        return super().normalize_email(address) if address.isascii() else address

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with this name or e-mail address. Raises `User.DoesNotExist`.

        No name contains an @, so a text never means two users.
        """
        name = (username or "").strip().lower()
        return self.get(email__lower=name) if "@" in name else self.get(username__lower=name)

    def find(self, name: str) -> "User | None":
        """Return the user with this name or e-mail address, or None."""
        try:
            return self.get_by_natural_key(name)
        except User.DoesNotExist:
            return None

    def lock(self, pk: int) -> bool:
        """Lock a user's row until the transaction ends; return whether the user exists.

        Call it before locking anything else of the user's, since a deletion locks in that order.
        """
        return self.select_for_update(no_key=True).filter(pk=pk).exists()

    def register(self, username: str, email: str, password: str) -> "User":
        """Create a user. Raises `ValidationError` with the errors of each field."""
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
    """An account; its name and its e-mail address are unique regardless of case."""

    # ASCII letters, since SQLite folds the case of no others. A path such as /auth/deactivate/../
    # would lead elsewhere.
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_.+-]+\Z",
                "Use only the letters A to Z, digits and the characters _ . + -",
            ),
            RegexValidator(r"\A\.{1,2}\Z", "Use more than dots.", inverse_match=True),
        ],
        error_messages={"unique": "This name is taken."},
    )
    # Other letters can look alike, or become ASCII in lower case.
    email = models.EmailField(
        "e-mail address",
        validators=[
            RegexValidator(
                r"\A[\x00-\x7f]*\Z",
                "Write the domain in ASCII: the international form of müller.de is "
                "xn--mller-kva.de.",
            ),
        ],
    )
    daily_tokens = models.PositiveIntegerField(
        "tokens a day",
        null=True,
        blank=True,
        help_text="How many tokens this user may use a day: empty for the server's setting "
        "CHAT_DAILY_TOKENS, 0 for no limit.",
    )

    deleted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()
    all_objects: ClassVar[models.Manager["User"]] = models.Manager()

    class Meta(AbstractUser.Meta):
        indexes = [
            models.Index("id", condition=models.Q(deleted_at__isnull=False), name="deleted_users")
        ]
        constraints = [
            models.UniqueConstraint(Lower("username"), name="username_is_unique"),
            models.UniqueConstraint(Lower("email"), name="email_is_unique"),
        ]

    def validate_constraints(self, exclude: Any = None) -> None:
        """Raise `ValidationError` for a name or an e-mail address that is taken, naming which."""
        others, excluded = User.objects.exclude(pk=self.pk), exclude or ()
        taken = {}
        # A form excludes the fields that it has already refused, and leaves them empty.
        if "username" not in excluded and others.filter(username__lower=self.username.lower()):
            taken["username"] = "This name is taken."
        if "email" not in excluded and others.filter(email__lower=self.email.lower()):
            taken["email"] = "This e-mail address is taken."
        if taken:
            raise ValidationError(taken)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; the new password of an existing user is recorded in the audit log.

        Raises `UserDeleted` where the user has been deleted in the meantime.
        """
        if self._state.adding:
            super().save(*args, **kwargs)
            return
        has_new_password = self._password is not None  # type: ignore[attr-defined]
        with transaction.atomic():
            if not User.objects.lock(self.pk):
                raise UserDeleted
            super().save(*args, **kwargs)
        if has_new_password:
            audit.record("password_changed", self.pk)

    def save_unless_taken(self, update_fields: list[str] | None = None) -> None:
        """Save. Raises `ValidationError` if the name or address was taken since it was checked."""
        try:
            with transaction.atomic():
                self.save(update_fields=update_fields)
        except IntegrityError:
            self.full_clean(exclude=["password"])
            raise

    def change_email(self, email: str) -> None:
        """Change the address and notify the old one. Raises `ValidationError`."""
        old, self.email = self.email, User.objects.normalize_email(email)
        self.full_clean(exclude=["password"])
        if self.email == old:
            return
        self.save_unless_taken(["email"])
        audit.record("email_changed", self.pk)
        context = {"username": self.username, "email": self.email}
        mail.enqueue(mail.send, old, "Your e-mail address", "email_changed.txt", context)

    def can_deactivate(self, user: "User") -> bool:
        """Return whether this user may: staff, but not themselves or anybody above them."""
        return self.is_staff and self != user and (self.is_superuser or not user.is_superuser)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the account with everything that belongs to it.

        It is hidden at once, and its name and address are free; its rows are deleted in the
        background, with the few that others add at this very moment.
        """
        unusable = f"deleted user {self.pk}"  # neither a name nor an address
        with transaction.atomic():
            if not User.objects.filter(pk=self.pk).update(
                deleted_at=timezone.now(),
                username=unusable,
                email=unusable,
                first_name="",
                last_name="",
                password=make_password(None),
                is_active=False,
                is_staff=False,
                is_superuser=False,
            ):
                return 0, {}
            access_ended.send(User, user=self)
            transaction.on_commit(partial(audit.record, "deletion", self.pk))
            transaction.on_commit(cleanup.due.set)
            transaction.on_commit(self._delete_log_entries)
        return 1, {self._meta.label: 1}

    def _delete_log_entries(self) -> None:
        """Delete what the admin has logged of an operator, which it would still show."""
        entries = self.logentry_set
        while ids := list(entries.values_list("pk", flat=True)[:1000]):
            entries.filter(pk__in=ids).delete()

    def deactivate(self, reason: str = "") -> None:
        """End everything that this user can do, at once; the audit log keeps the reason.

        Raises `Http404` if the user has been deleted.
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
        """Let this user log in again; old sessions and tokens stay deleted.

        Returns False, without any effect, if the user is active.
        """
        with transaction.atomic():
            # Compared in the database: of two operators at once, the second would end a new login.
            deactivated = User.objects.filter(pk=self.pk, is_active=False)
            if not deactivated.update(is_active=True):
                return False
            # A login in progress during the deactivation may have left one.
            self.session_set.all().delete()
            self.tokens.all().delete()
        self.is_active = True
        audit.record("reactivation", self.pk)
        return True

    def end_sessions(self, except_key: str | None = None) -> None:
        """End all sessions of this user, except the one with this key."""
        ended, _ = self.session_set.exclude(session_key=except_key).delete()
        if ended:
            audit.record("sessions_ended", self.pk, number=ended)

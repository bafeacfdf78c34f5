"""Checks, changes and resets passwords."""

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.hashers import check_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from accounts import mail, sessions
from accounts.models import User
from core import audit, ratelimit
from core.errors import ApiError

MAX_LENGTH = 128


class MaximumLengthValidator:
    """Refuses, wherever a password is set, what the API would not accept at a login."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise `ValidationError` for a password that is too long."""
        if len(password) > MAX_LENGTH:
            problem = f"This password is too long. It must contain at most {MAX_LENGTH} characters."
            raise ValidationError(problem, code="password_too_long")

    def get_help_text(self) -> str:
        """Return the text that the admin's forms show."""
        return f"Your password must contain at most {MAX_LENGTH} characters."


class WrongCredentials(ApiError):
    """No active account has this name and this password."""

    message = "Invalid username or password"


def authenticate(request: HttpRequest, name: str, password: str) -> User:
    """Return the active user with this name or e-mail address and this password.

    Raises `WrongCredentials`, alike and after the same time whether the name is unknown, the
    password wrong or the account deactivated; and what `count_guess` raises.
    """
    count_guess(request, name)
    user = auth.authenticate(request, username=name, password=password)
    if user is None:
        raise WrongCredentials
    return user


def count_guess(request: HttpRequest, name: str) -> None:
    """Count a guess at an account's password, before the password is checked.

    User name and e-mail address, in any case, count together. Unknown names are counted as well,
    so that the limit does not reveal which exist. Raises what `ratelimit.count` raises.
    """
    user = User.objects.find(name)
    key = f"account:{user.pk}" if user else f"name:{name.strip().lower()}"
    ratelimit.count(request, "login_account", key, needs_cache=True)


def confirm(request: HttpRequest, user: User, password: str | None) -> None:
    """Require the password if the login is older than ten minutes.

    Raises `ApiError` if it is missing or wrong.
    """
    if password is None and sessions.has_confirmed_password_recently(request):
        return
    if password is None:
        raise field_error("password", "Enter your password: your login is older than ten minutes.")
    check(request, user, password, "password")
    sessions.mark_password_confirmed(request)


def check(request: HttpRequest, user: User, password: str, field: str) -> None:
    """Raise `ApiError` unless this is the user's password; counts as a guess, like a login."""
    count_guess(request, user.username)
    # Not the user's own method: it may upgrade the hash, which would end the session that asks.
    if not check_password(password, user.password):
        audit.record("password_refused", user.pk)
        raise field_error(field, "The password is wrong.")


def field_error(field: str, problem: str) -> ApiError:
    """Return an error about one field."""
    return ApiError(problem, fields={field: [problem]})


def change(request: HttpRequest, user: User, old: str, new: str) -> None:
    """Replace the old password; the user's other sessions end.

    Raises `ApiError` for a wrong `old_password` and `ValidationError` for a weak `new_password`.
    """
    check(request, user, old, "old_password")
    validate(user, new)
    hash_before = user.password
    user.set_password(new)
    with transaction.atomic():
        # Compared again and locked: of two calls at once, the second has an outdated password, and
        # a user who has been deactivated in the meantime must not get a new session.
        same = User.objects.filter(pk=user.pk, password=hash_before, is_active=True)
        if not same.select_for_update().exists():
            raise field_error("old_password", "The password is wrong.")
        user.save(update_fields=["password"])
        auth.update_session_auth_hash(request, user)
        sessions.mark_password_confirmed(request)
        user.end_sessions(except_key=request.session.session_key)


def validate(user: User, password: str) -> None:
    """Raise `ValidationError` for `new_password` if it is too weak for this user."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"new_password": error.error_list}) from None


def send_reset(request: HttpRequest, email: str) -> None:
    """Send a password reset to the user with this address, if any, in the background.

    Counted for each address, known or not, so that nobody's mailbox can be flooded. Raises what
    `ratelimit.count` raises.
    """
    address = email.strip().lower()
    ratelimit.count(request, "password_reset", f"to:{address}", needs_cache=True)
    mail.enqueue(_send_reset, address)


def _send_reset(address: str) -> None:
    user = User.objects.filter(email__lower=address, is_active=True).first()
    audit.record("password_reset_asked", user.pk if user else None)
    if user is None or not user.has_usable_password():
        return
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    token = default_token_generator.make_token(user)
    link = settings.PASSWORD_RESET_URL.format(uid=uid, token=token)
    context = {"user": user, "uid": uid, "token": token, "link": link}
    mail.send(user.email, "Your new password", "password_reset.txt", context)


def reset(uid: str, token: str, password: str) -> None:
    """Set a new password with a token from the e-mail, and end all of the user's sessions.

    Raises `ApiError` for a token that is wrong, used or older than an hour, and `ValidationError`
    for a weak password.
    """
    user = _get_token_user(User.objects.all(), uid, token)
    validate(user, password)
    user.set_password(password)  # slow, so before the row is locked
    with transaction.atomic():
        # Checked again and locked: of two calls with one token, the second finds it used.
        _get_token_user(User.objects.select_for_update(), uid, token)
        user.save(update_fields=["password"])
        user.end_sessions()
    audit.record("password_reset", user.pk)


def _get_token_user(users: QuerySet[User], uid: str, token: str) -> User:
    try:
        user = users.filter(pk=int(urlsafe_base64_decode(uid)), is_active=True).first()
    except ValueError:
        user = None
    if user is None or not default_token_generator.check_token(user, token):
        raise field_error("token", "The token is wrong, used or expired: ask for a new e-mail.")
    return user

"""Proving who somebody is: passwords, and the e-mail for a forgotten one."""

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
    """Refuses what the API would not take at a login, wherever a password is set."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise `ValidationError` for a password that is too long."""
        if len(password) > MAX_LENGTH:
            problem = f"This password is too long. It must contain at most {MAX_LENGTH} characters."
            raise ValidationError(problem, code="password_too_long")

    def get_help_text(self) -> str:
        """Return what the admin's forms say beforehand."""
        return f"Your password must contain at most {MAX_LENGTH} characters."


class WrongCredentials(ApiError):
    """There is no active account of that name with that password."""

    message = "Invalid username or password"


def authenticate(request: HttpRequest, name: str, password: str) -> User:
    """Return the active user of a name or an e-mail address and its password.

    Raises `WrongCredentials`, the same and after the same time whether the name is unknown, the
    password wrong or the account deactivated.
    """
    count_guess(request, name)
    user = auth.authenticate(request, username=name, password=password)
    if user is None:
        raise WrongCredentials
    return user


def count_guess(request: HttpRequest, name: str) -> None:
    """Count a guess at the password of one account, before it is looked at.

    User name and e-mail address in any case count together; names that nobody has are counted as
    well, so that the limit does not tell which exist. Raises as `ratelimit.count`.
    """
    user = User.objects.find(name)
    key = f"account:{user.pk}" if user else f"name:{name.strip().lower()}"
    ratelimit.count(request, "login_account", key, needs_cache=True)


def confirm(request: HttpRequest, user: User, password: str | None) -> None:
    """Ask for the password where the login is older than ten minutes.

    Raises `ApiError` where it is missing or wrong.
    """
    if password is None and sessions.has_recent_password(request):
        return
    if password is None:
        raise wrong("password", "Enter your password: your login is older than ten minutes.")
    check(request, user, password, "password")
    sessions.mark_password_given(request)


def check(request: HttpRequest, user: User, password: str, field: str) -> None:
    """Raise `ApiError` unless this is the user's password; counts as a guess, as a login does."""
    count_guess(request, user.username)
    # Not the user's own method, which may renew the hash, and so end the session that asks.
    if not check_password(password, user.password):
        audit.record("password_refused", user.pk)
        raise wrong(field, "The password is wrong.")


def wrong(field: str, problem: str) -> ApiError:
    """Return the error of one field."""
    return ApiError(problem, fields={field: [problem]})


def change(request: HttpRequest, user: User, old: str, new: str) -> None:
    """Set a new password for the old one; the user's other sessions end.

    Raises `ApiError` for `old_password` where it is wrong and `ValidationError` for `new_password`
    where it is too weak.
    """
    check(request, user, old, "old_password")
    validate(user, new)
    hash_before = user.password
    user.set_password(new)
    with transaction.atomic():
        # Compared again and locked: of two calls at once, the second gives a password of the past,
        # and who has been deactivated meanwhile gets no new session.
        same = User.objects.filter(pk=user.pk, password=hash_before, is_active=True)
        if not same.select_for_update().exists():
            raise wrong("old_password", "The password is wrong.")
        user.save(update_fields=["password"])
        auth.update_session_auth_hash(request, user)
        sessions.mark_password_given(request)
        user.end_sessions(but=request.session.session_key)


def validate(user: User, password: str) -> None:
    """Raise `ValidationError` for `new_password` where it is too weak for this user."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"new_password": error.error_list}) from None


def send_reset(request: HttpRequest, email: str) -> None:
    """Have a reset mailed to whoever has this address, if anybody; returns at once.

    Counted for each address, known or not: nobody's mailbox can be flooded from many places.
    """
    address = email.strip().lower()
    ratelimit.count(request, "password_reset", f"to:{address}", needs_cache=True)
    mail.later(_send_reset, address)


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
    """Set a new password for the user of a mailed token, and end all their sessions.

    Raises `ApiError` for a token that is wrong, used or older than an hour.
    """
    user = _user_of(User.objects.all(), uid, token)
    validate(user, password)
    user.set_password(password)  # slow, so not while the row is locked
    with transaction.atomic():
        # Asked again and locked: of two calls with one token, the second sees it used.
        _user_of(User.objects.select_for_update(), uid, token)
        user.save(update_fields=["password"])
        user.end_sessions()
    audit.record("password_reset", user.pk)


def _user_of(users: QuerySet[User], uid: str, token: str) -> User:
    try:
        user = users.filter(pk=int(urlsafe_base64_decode(uid)), is_active=True).first()
    except ValueError:
        user = None
    if user is None or not default_token_generator.check_token(user, token):
        raise wrong("token", "The token is wrong, used or expired: ask for a new e-mail.")
    return user

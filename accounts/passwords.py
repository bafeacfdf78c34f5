"""Proving who somebody is: passwords, and the e-mail for a forgotten one."""

import logging
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.db import connection, transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from accounts import sessions
from accounts.models import User
from llama_chatbot.errors import ApiError

logger = logging.getLogger(__name__)

# Mail is sent beside the request, so that its time does not tell whether there is an account.
# The interpreter waits for these threads at its end: no mail is lost by a restart.
outbox = ThreadPoolExecutor(max_workers=2, thread_name_prefix="outbox")


def account_key(name: str) -> str:
    """Return the key under which guesses at one account are counted.

    The same for its user name and its e-mail address in any case; for a name that nobody has, the
    name itself, so that the count does not tell which exist.
    """
    try:
        return f"account:{User.objects.get_by_natural_key(name).pk}"
    except User.DoesNotExist:
        return f"name:{name.strip().lower()}"


def confirm(request: HttpRequest, user: User, password: str | None) -> None:
    """Ask for the password where the login is older than ten minutes.

    Raises `ApiError` where it is missing or wrong.
    """
    if password is None and sessions.is_recent(request):
        return
    if password is None:
        raise wrong("password", "Enter your password: your login is older than ten minutes.")
    check(user, password, "password")
    sessions.password_was_given(request)


def check(user: User, password: str, field: str) -> None:
    """Raise `ApiError` unless this is the user's password."""
    if not user.check_password(password):
        raise wrong(field, "The password is wrong.")


def wrong(field: str, problem: str) -> ApiError:
    """Return the error of one field."""
    return ApiError(problem, fields={field: [problem]})


def change(user: User, password: str) -> None:
    """Set a new password. Raises `ValidationError` for `new_password` where it is too weak."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"new_password": error.error_list}) from None
    user.set_password(password)
    user.save(update_fields=["password"])


def send_reset(email: str) -> None:
    """Have a reset mailed to whoever has this address, if anybody; returns at once."""
    outbox.submit(_send_reset, email)


def _send_reset(email: str) -> None:
    try:
        user = User.objects.filter(email__lower=email.strip().lower(), is_active=True).first()
        if user is None:
            return
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        token = default_token_generator.make_token(user)
        link = settings.PASSWORD_RESET_URL.format(uid=uid, token=token)
        context = {"user": user, "uid": uid, "token": token, "link": link}
        text = render_to_string("accounts/password_reset.txt", context)
        send_mail("Your new password", text, None, [user.email])
    except Exception:
        # Nobody waits for this thread's result, so what is not logged here is lost.
        logger.exception("A password reset could not be mailed")
    finally:
        connection.close()


def reset(uid: str, token: str, password: str) -> None:
    """Set a new password for the user of a mailed token, and end all their sessions.

    Raises `ApiError` for a token that is wrong, used or older than an hour.
    """
    with transaction.atomic():
        # Locked, so that of two calls with one token the second sees it used.
        user = _user_of(uid)
        if user is None or not default_token_generator.check_token(user, token):
            raise wrong("token", "The token is wrong, used or expired: ask for a new e-mail.")
        change(user, password)
        user.end_sessions()


def _user_of(uid: str) -> User | None:
    try:
        pk = int(urlsafe_base64_decode(uid))
    except ValueError:
        return None
    return User.objects.select_for_update().filter(pk=pk, is_active=True).first()

"""The endpoints under /auth/: registration, login, passwords, sessions and tokens."""

from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Status

from accounts import passwords, sessions
from accounts.authentication import (
    UserRequest,
    anybody,
    optional,
    session_only,
    unauthenticated_if_deleted,
)
from accounts.hashing import hashes_password
from accounts.models import Token, User
from accounts.schemas import (
    Credentials,
    EmailChange,
    LoggedIn,
    LoginStatus,
    MessageAnswer,
    NewToken,
    PasswordChange,
    PasswordConfirmation,
    PasswordReset,
    PasswordResetConfirmation,
    Registered,
    Registration,
    SessionsOut,
    SessionsPage,
    TokenIssued,
    TokensOut,
)
from core.errors import Forbidden, NotFound
from core.ratelimit import rate_limit
from core.schemas import Text

router = Router(auth=session_only, tags=["accounts"])

NO_CONFIRMATION = PasswordConfirmation()


@router.post("/register/", auth=anybody, response={201: Registered}, exclude_none=True)
@rate_limit("register", needs_cache=True)
@hashes_password
def register(request: HttpRequest, body: Registration) -> Status[dict[str, str]]:
    """Create an account, without logging in."""
    user = User.objects.register(body.username, body.email, body.password)
    answer = {"username": user.username, "email": user.email}
    if days := settings.CHAT_KEEP_DAYS:
        kept = "a day" if days == 1 else f"{days} days"
        answer["notice"] = f"Conversations are deleted {kept} after their last message."
    return Status(201, {"message": "User created successfully", **answer})


@router.post("/login/", auth=anybody, response=LoggedIn, exclude_none=True)
@rate_limit("login", needs_cache=True)
@hashes_password
def login(request: HttpRequest, body: Credentials) -> dict[str, Any]:
    """Log in with a user name or an e-mail address, and the password."""
    user = passwords.authenticate(request, body.username, body.password)
    with unauthenticated_if_deleted(user, passwords.WrongCredentials):
        auth.login(request, user)
    warning = sessions.cookie_trap(request)
    return {"message": "Login successful", "user": user, "warning": warning}


@router.post("/logout/", auth=anybody, response=MessageAnswer)
@rate_limit("write")
def logout(request: HttpRequest) -> dict[str, str]:
    """Log out of this session."""
    auth.logout(request)
    return {"message": "Logout successful"}


@router.get("/status/", auth=optional, response=LoginStatus)
@rate_limit("read")
def login_status(request: UserRequest) -> dict[str, Any]:
    """Return who is logged in."""
    user = request.auth if request.auth.is_authenticated else None
    message = "User is logged in" if user else "User is not logged in"
    return {"message": message, "authenticated": bool(user), "user": user}


@router.delete("/delete/", response=MessageAnswer)
@rate_limit("write")
@hashes_password
def delete_account(
    request: UserRequest, body: PasswordConfirmation = NO_CONFIRMATION
) -> dict[str, str]:
    """Delete the account with everything that belongs to it."""
    passwords.confirm(request, request.auth, body.password)
    request.auth.delete()
    request.session.flush()
    return {"message": "User deleted successfully"}


@router.api_operation(["POST", "DELETE"], "/deactivate/{username}/", response=MessageAnswer)
@rate_limit("write")
def deactivate(request: UserRequest, username: Text) -> dict[str, str]:
    """Deactivate a user; staff only."""
    if not request.auth.is_staff:
        raise Forbidden("Only staff can deactivate a user.")
    user = get_object_or_404(User, username__lower=username.lower())
    if not request.auth.can_deactivate(user):
        raise Forbidden("You cannot deactivate yourself or a superuser.")
    user.deactivate()
    LogEntry.objects.log_actions(
        request.auth.pk, [user], CHANGE, "Deactivated through the API.", single_object=True
    )
    return {"message": f"User {user.username} has been deactivated."}


@router.post("/password/change/", response=MessageAnswer)
@rate_limit("write")
@hashes_password
def change_password(request: UserRequest, body: PasswordChange) -> dict[str, str]:
    """Change the password; the user's other sessions end."""
    passwords.change(request, request.auth, body.old_password, body.new_password)
    return {"message": "Password changed successfully"}


@router.post("/email/change/", response=MessageAnswer)
@rate_limit("register", needs_cache=True)  # like registration, it shows which addresses are taken
@hashes_password
def change_email(request: UserRequest, body: EmailChange) -> dict[str, str]:
    """Change the e-mail address; the old one gets an e-mail about it."""
    passwords.confirm(request, request.auth, body.password)
    with unauthenticated_if_deleted(request.auth):
        request.auth.change_email(body.email)
    return {"message": "E-mail address changed successfully"}


@router.post("/password/reset/", auth=anybody, response=MessageAnswer)
@rate_limit("password_reset", needs_cache=True)
def reset_password(request: HttpRequest, body: PasswordReset) -> dict[str, str]:
    """Send a password reset token to the user with this address, if any."""
    passwords.send_reset(request, body.email)
    return {"message": "If there is an account with this address, an e-mail is on its way."}


@router.post("/password/reset/confirm/", auth=anybody, response=MessageAnswer)
@rate_limit("login", needs_cache=True)
@hashes_password
def confirm_password_reset(request: HttpRequest, body: PasswordResetConfirmation) -> dict[str, str]:
    """Set a new password with a token from the e-mail; every session ends."""
    passwords.reset(body.uid, body.token, body.new_password)
    return {"message": "Password changed successfully"}


@router.get("/sessions/", response=SessionsOut)
@rate_limit("read")
def list_sessions(request: UserRequest, page: Query[SessionsPage]) -> dict[str, Any]:
    """List where the user is logged in, newest login first."""
    found, cursor = sessions.page(
        request.auth, page.limit, page.cursor, current=request.session.session_key
    )
    return {"sessions": found, "next": cursor}


@router.delete("/sessions/", response=MessageAnswer)
@rate_limit("write")
def end_other_sessions(request: UserRequest) -> dict[str, str]:
    """Log out everywhere else."""
    request.auth.end_sessions(except_key=request.session.session_key)
    return {"message": "All other sessions have ended"}


@router.delete("/sessions/{int:session_id}/", response=MessageAnswer)
@rate_limit("write")
def end_session(request: UserRequest, session_id: int) -> dict[str, str]:
    """Log out of one session."""
    ended = sessions.find(request.auth, session_id)
    if ended is None:
        raise NotFound
    if ended.session_key == request.session.session_key:
        auth.logout(request)
    else:
        ended.end()
    return {"message": "The session has ended"}


@router.post("/tokens/", response={201: TokenIssued})
@rate_limit("write")
@hashes_password
def create_token(request: UserRequest, body: NewToken) -> Status[dict[str, Any]]:
    """Create a token for scripts; it is shown only this once."""
    passwords.confirm(request, request.auth, body.password)
    with unauthenticated_if_deleted(request.auth):
        token, secret = Token.objects.issue(request.auth, body.name, body.days)
    described = {name: getattr(token, name) for name in ("id", "name", "prefix", "expires_at")}
    return Status(201, {"token": secret, **described})


@router.get("/tokens/", response=TokensOut)
@rate_limit("read")
def list_tokens(request: UserRequest) -> dict[str, Any]:
    """List the user's tokens."""
    return {"tokens": Token.objects.valid().filter(user=request.auth).order_by("id")}


@router.delete("/tokens/{int:token_id}/", response=MessageAnswer)
@rate_limit("write")
def revoke_token(request: UserRequest, token_id: int) -> dict[str, str]:
    """Revoke a token."""
    get_object_or_404(request.auth.tokens, pk=token_id).revoke()
    return {"message": "The token has been revoked"}

"""The bodies and responses of the endpoints under /auth/."""

from datetime import datetime
from typing import Annotated

from ninja import Schema
from pydantic import Field

from accounts.passwords import MAX_LENGTH
from core.schemas import Body, Integral, NotBlank, Text

Password = Annotated[Text, Field(max_length=MAX_LENGTH)]
Email = Annotated[NotBlank, Field(max_length=254)]


class Registration(Body):
    username: Annotated[NotBlank, Field(max_length=150)]
    email: Email
    password: Password


class Credentials(Body):
    username: Annotated[Text, Field(max_length=254)]
    password: Password


class PasswordConfirmation(Body):
    """The password again, needed unless the login is recent."""

    password: Password | None = None


class PasswordChange(Body):
    old_password: Password
    new_password: Password


class EmailChange(PasswordConfirmation):
    email: Email


class PasswordReset(Body):
    email: Email


class PasswordResetConfirmation(Body):
    uid: Annotated[Text, Field(max_length=100)]
    token: Annotated[Text, Field(max_length=100)]
    new_password: Password


class NewToken(PasswordConfirmation):
    name: Annotated[NotBlank, Field(max_length=100)]
    days: Annotated[int, Field(ge=1, le=366), Integral]


class UserOut(Schema):
    id: int
    username: str
    email: str
    is_staff: bool


class MessageAnswer(Schema):
    message: str


class Registered(MessageAnswer):
    """`notice` says how long conversations are kept, where that is not for ever."""

    username: str
    email: str
    notice: str | None = None


class LoggedIn(MessageAnswer):
    """`warning` says why the browser will not send the session's cookie, where that can be seen."""

    user: UserOut
    warning: str | None = None


class LoginStatus(MessageAnswer):
    authenticated: bool
    user: UserOut | None


class SessionOut(Schema):
    id: int
    current: bool
    created_at: datetime | None
    last_seen_at: datetime | None
    ip_address: str | None
    user_agent: str | None


class SessionsOut(Schema):
    sessions: list[SessionOut]
    next: str | None


class SessionsPage(Schema):
    """Which page of the sessions is wanted."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str = ""


class TokenOut(Schema):
    id: int
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime


class TokensOut(Schema):
    tokens: list[TokenOut]


class TokenIssued(Schema):
    token: str
    id: int
    name: str
    prefix: str
    expires_at: datetime

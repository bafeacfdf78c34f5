"""The lines of exports and imports, as in the OpenAPI document; tests compare them with both."""

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from chat.schemas import ContextOut, FeedbackOut, OptionsOut, Status, UsageOfReply


class Header(BaseModel):
    """Which format it is."""

    format: Literal["llama-chatbot"]
    version: Literal[1]
    exported_at: datetime.datetime


class HeaderLine(Header):
    type: Literal["export"]


class AccountLine(BaseModel):
    type: Literal["account"]
    id: int
    username: str
    email: str
    is_staff: bool
    is_superuser: bool
    date_joined: datetime.datetime
    last_login: datetime.datetime | None
    daily_tokens: int | None


class SessionLine(BaseModel):
    type: Literal["session"]
    id: int
    created_at: datetime.datetime | None
    last_seen_at: datetime.datetime | None
    ip_address: str | None
    user_agent: str | None
    expires_at: datetime.datetime


class TokenLine(BaseModel):
    type: Literal["token"]
    id: int
    name: str
    prefix: str
    created_at: datetime.datetime
    last_used_at: datetime.datetime | None
    expires_at: datetime.datetime


class UsageLine(BaseModel):
    type: Literal["usage"]
    date: datetime.date
    model: str
    replies: int
    prompt_tokens: int
    completion_tokens: int


class IdempotencyKeyLine(BaseModel):
    type: Literal["idempotency_key"]
    key: str
    reply_id: int
    created_at: datetime.datetime


class ExportedThread(BaseModel):
    type: Literal["thread"]
    id: int
    key: str
    title: str
    title_is_given: bool
    model: str
    system_prompt: str | None
    options: OptionsOut
    created_at: datetime.datetime
    updated_at: datetime.datetime
    pinned: bool
    archived: bool
    expires_at: datetime.datetime | None
    current_message_id: int | None


class ExportedMessage(BaseModel):
    """A message; the fields from `thinking` on are those of a reply."""

    id: int
    parent_id: int | None
    sender: Literal["user", "bot"]
    content: str
    status: Status
    created_at: datetime.datetime
    thinking: str = ""
    model: str = ""
    options: OptionsOut | None = None
    error_code: str = ""
    finish_reason: str = ""
    usage: UsageOfReply | None = None
    context: ContextOut | None = None
    feedback: FeedbackOut | None = None


class MessageLine(ExportedMessage):
    type: Literal["message"]
    thread_id: int


class ThreadEndLine(BaseModel):
    type: Literal["thread_end"]
    id: int
    messages: int


class ExportEndLine(BaseModel):
    type: Literal["end"]
    threads: int
    messages: int


ExportLine = Annotated[
    HeaderLine
    | AccountLine
    | SessionLine
    | TokenLine
    | UsageLine
    | IdempotencyKeyLine
    | ExportedThread
    | MessageLine
    | ThreadEndLine
    | ExportEndLine,
    Field(discriminator="type"),
]


class WholeThread(Header, ExportedThread):
    """A thread with its whole tree."""

    messages: list[ExportedMessage]


class ThreadImported(BaseModel):
    """A thread that was imported, and how much of it was left out, by kind."""

    type: Literal["thread"]
    thread_id: int
    title: str
    messages: int
    left_out: dict[str, int]


class ConversationSkipped(BaseModel):
    """A conversation that was not imported, and why."""

    type: Literal["skipped"]
    title: str
    code: Literal["already_there", "no_messages", "too_large", "invalid", "incomplete", "expired"]
    reason: str


class ImportProgress(BaseModel):
    """How many bytes of the file were read."""

    type: Literal["progress"]
    bytes: int
    of: int


class ImportEnd(BaseModel):
    """The last line of an import that has come to its end."""

    type: Literal["end"]
    threads: int
    messages: int
    already_there: int
    skipped: int


class ImportFailure(BaseModel):
    """The last line of an import that could not go on."""

    type: Literal["error"]
    error: str
    code: str


ImportLine = Annotated[
    ThreadImported | ConversationSkipped | ImportProgress | ImportEnd | ImportFailure,
    Field(discriminator="type"),
]

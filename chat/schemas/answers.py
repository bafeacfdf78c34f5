"""What the chat calls answer."""

import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import BeforeValidator
from typing_extensions import TypedDict

from chat.formats import Format
from chat.models import Thread
from core.schemas import Answer

Status = Literal["generating", "complete", "stopped", "interrupted", "failed"]


class OptionsOut(TypedDict, total=False):
    """The options that were chosen."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    seed: int
    num_ctx: int
    num_predict: int
    stop: list[str]


ShownTitle = Annotated[str, BeforeValidator(lambda title: title or Thread.UNTITLED)]


class ThreadFields(Answer):
    id: int
    title: ShownTitle
    model: str
    created_at: datetime.datetime
    updated_at: datetime.datetime
    pinned: bool
    archived: bool
    expires_at: datetime.datetime | None


class ThreadInList(ThreadFields):
    """A thread as lists have it; `preview` is how its last message begins."""

    running_reply_id: int | None
    position: int | None
    preview: str


class ThreadOut(ThreadFields):
    system_prompt: str | None
    options: OptionsOut
    current_message_id: int | None


class ThreadCreated(Schema):
    thread_id: int
    thread: ThreadOut


class ThreadsOut(Schema):
    threads: list[ThreadInList]
    next: str | None


class UsageOfReply(Answer):
    prompt_tokens: int | None
    completion_tokens: int | None
    duration_ms: int | None
    first_token_ms: int | None


class ContextOut(Answer):
    turns_kept: int | None
    turns_dropped: int | None
    characters_cut: int | None
    tokens: int | None


NoneIfEmpty = Annotated[str | None, BeforeValidator(lambda text: text or None)]


class FeedbackOut(Answer):
    """What the user thinks of a reply."""

    rating: Literal[1, -1]
    comment: str
    rated_at: datetime.datetime


class MessageOut(Answer):
    """A message; what only replies have is null in a user's."""

    id: int
    parent_id: int | None
    sibling_ids: list[int]
    sender: Literal["user", "bot"]
    content: str
    thinking: str
    status: Status
    created_at: datetime.datetime
    model: NoneIfEmpty
    error_code: NoneIfEmpty
    finish_reason: NoneIfEmpty
    usage: UsageOfReply | None
    context: ContextOut | None
    position: int | None
    format: Format | None
    format_valid: bool | None
    feedback: FeedbackOut | None


class MessagesOut(Schema):
    messages: list[MessageOut]
    next: str | None


class SearchResult(Answer):
    """A message that was found; a title has no `message_id` and no `sender`.

    The highlights are the parts of the snippet that were searched for, from and to, in characters.
    """

    thread_id: int
    title: str
    message_id: int | None
    sender: Literal["user", "bot"] | None
    created_at: datetime.datetime
    snippet: str
    highlights: list[tuple[int, int]]


class SearchResults(Schema):
    results: list[SearchResult]
    next: str | None


class StatusOut(Schema):
    status: str


class WholeReply(Schema):
    response: str
    message: MessageOut
    usage: UsageOfReply


class ModelOut(Schema):
    name: str
    size: int
    family: str
    parameter_size: str
    modified_at: str


class ModelsOut(Schema):
    models: list[ModelOut]
    default: str


class UsageOfDay(Schema):
    date: datetime.date
    model: str
    replies: int
    prompt_tokens: int
    completion_tokens: int


class UsageTotal(Schema):
    replies: int
    prompt_tokens: int
    completion_tokens: int


class UsageOut(Schema):
    days: list[UsageOfDay]
    total: UsageTotal

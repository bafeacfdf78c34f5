"""What the chat calls take, in their bodies and their queries."""

import datetime
from typing import Annotated, Any, Literal

from django.conf import settings
from django.utils import timezone
from ninja import Schema
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from chat.formats import CheckedFormat
from chat.models import Message, Thread
from core.schemas import Body, Integral, NotBlank, Text

Title = Annotated[NotBlank, Field(max_length=Thread.TITLE_LENGTH), AfterValidator(str.strip)]
ModelName = Annotated[NotBlank, Field(max_length=200)]
MessageId = Annotated[int, Field(ge=1, lt=2**63), Integral]
ThreadId = MessageId
Limit = Annotated[int, Field(ge=1, le=200)]


MAX_WINDOW = settings.CHAT_CONTEXT_WINDOW_MAX


class Options(Body):
    """How the model writes, in Ollama's names. None leaves an option to Ollama."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000), Integral] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), Integral] | None = None
    num_ctx: Annotated[int, Field(ge=512, le=settings.CHAT_CONTEXT_WINDOW_MAX), Integral] | None = (
        None
    )
    num_predict: (
        Annotated[int, Field(ge=1, le=settings.CHAT_CONTEXT_WINDOW_MAX), Integral] | None
    ) = None
    stop: (
        Annotated[list[Annotated[Text, Field(min_length=1, max_length=100)]], Field(max_length=8)]
        | None
    ) = None

    def chosen(self) -> dict[str, Any]:
        """Return the options that are not left to Ollama."""
        chosen = self.model_dump(exclude_none=True)
        if not self.stop:  # an empty list would take the model's own away
            chosen.pop("stop", None)
        return chosen


def in_the_future(value: datetime.datetime) -> datetime.datetime:
    """Reject a time that has passed, or that no calendar of the databases reaches."""
    now = timezone.now()
    if not now < value < now + LONGEST_LIFE:
        raise PydanticCustomError("time", "This must be in the future, within a hundred years.")
    return value.astimezone(datetime.UTC)


def as_text(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds."""
    if not isinstance(value, str):
        raise PydanticCustomError("time", "This must be a time such as 2026-12-31T12:00:00Z.")
    return value


LONGEST_LIFE = datetime.timedelta(days=365 * 100)
FutureTime = Annotated[
    AwareDatetime, Field(strict=False), AfterValidator(in_the_future), BeforeValidator(as_text)
]


def as_number(value: object) -> object:
    """Refuse true, which Python takes for 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("rating", "This must be 1, -1 or null.")
    return value


Rating = Annotated[Literal[1, -1], BeforeValidator(as_number)]


class ThreadSettings(Body):
    """What can be set of a thread; what is not named stays as it is."""

    title: Title | None = None
    model: ModelName | None = None
    system_prompt: Annotated[Text, Field(max_length=20_000)] | None = None
    options: Options | None = None
    expires_at: FutureTime | None = None

    def changes(self) -> dict[str, Any]:
        """Return the fields that are named, as the thread stores them."""
        changes = {name: getattr(self, name) for name in self.model_fields_set}
        if "options" in changes:
            changes["options"] = self.options.chosen() if self.options else {}
        if changes.get("model", "") is None:
            changes["model"] = settings.OLLAMA_MODEL
        if "title" in changes:
            changes["title"] = self.title or ""
            changes["title_is_given"] = bool(self.title)
        return changes


class ThreadChanges(ThreadSettings):
    """What can be changed of a thread; null takes a field back to its default."""

    pinned: bool | None = None
    archived: bool | None = None

    def changes(self) -> dict[str, Any]:
        """Return the fields that are named, as the thread stores them."""
        changes = super().changes()
        for name in {"pinned", "archived"} & changes.keys():
            changes[name] = bool(changes[name])
        return changes


class NewTitle(Body):
    title: Title


class NewMessage(Body):
    """A message; without `parent_id` it follows the newest, with null it begins the thread."""

    message: NotBlank
    parent_id: MessageId | None = None
    format: CheckedFormat | None = None


class ThreadsChoice(Body):
    """Some of the user's threads; without `ids`, all of them."""

    ids: list[ThreadId] = Field(default=[], max_length=500)


class Feedback(Body):
    """What the user thinks of a reply: 1 for good, -1 for bad; null takes it back."""

    rating: Rating | None
    comment: Annotated[Text, Field(max_length=Message.RATING_COMMENT_LENGTH)] = ""


class ReplyChoice(Body):
    """One of a thread's replies; without `message_id`, the last of the current branch."""

    message_id: MessageId | None = None


class FirstMessage(ThreadSettings):
    """A message with which a thread begins, and what is set of that thread."""

    message: NotBlank
    parent_id: None = None
    format: CheckedFormat | None = None

    def changes(self) -> dict[str, Any]:
        """Return what is set of the thread."""
        of_message = FirstMessage.model_fields.keys() - ThreadSettings.model_fields.keys()
        return {name: value for name, value in super().changes().items() if name not in of_message}


class RegenerateRequest(Body):
    """Which message to answer again, by default the last, and with what, for this reply only."""

    message_id: MessageId | None = None
    model: ModelName | None = None
    options: Options | None = None
    format: CheckedFormat | None = None


class Page(Schema):
    """Which page of a list is wanted."""

    limit: Limit = 50
    cursor: str = ""


class ThreadsPage(Page):
    """Which page of the threads is wanted: of those that are archived, or of the others."""

    limit: Annotated[int, Field(ge=1, le=500)] = 200
    archived: bool = False


class ExportFormat(Schema):
    """In which format a thread is wanted: for a person to read, or for a program."""

    format: Literal["markdown", "json"] = "markdown"


class SearchPage(Page):
    """What is searched for: words, and "phrases" in quotation marks."""

    q: Annotated[str, Field(max_length=1000)]
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class MessagesPage(Page):
    """Without `leaf` the current branch is wanted."""

    limit: Limit = 200
    leaf: MessageId | None = None


class MessageChoice(Body):
    """One of a thread's messages."""

    message_id: MessageId


class ResumePoint(Schema):
    """After how many characters of a reply to go on."""

    offset: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Period(Schema):
    """So many days, today included."""

    days: Annotated[int, Field(ge=1, le=366)] = 30

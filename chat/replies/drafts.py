"""What a user asks the model for: a reply to a message, or another to the same question."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

from django.http import Http404

from accounts.models import User
from chat import statements
from chat.models import Message, Thread
from chat.replies.parameters import NO_PARAMETERS, Parameters
from core.errors import ApiError


class NothingToRegenerate(ApiError):
    """There is no question that the model could answer again."""

    status, code = 409, "nothing_to_regenerate"
    message = "There is no question here to be answered again: send a message."


class ResolvedDraft(NamedTuple):
    """What a draft comes to in its thread.

    `parent` is what the question follows, with its silence; `question` is None where `text` is that
    of a new one. `parameters` are the reply's.
    """

    parent: Message | None
    question: Message | None
    text: str
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that a user sends.

    `parent` is the id of the message it follows: None for the beginning of the thread, "newest" for
    the end of the current branch. `key` is the client's idempotency key, or empty. `parameters` are
    the reply's. A message that begins a thread has the `thread_id` 0, and in `settings` what is set
    of that thread.
    """

    user: User
    thread_id: int
    text: str
    parent: int | str | None
    key: str
    parameters: Parameters = NO_PARAMETERS
    settings: Mapping[str, Any] | None = None

    @property
    def digest(self) -> str:
        """A hash of what is sent."""
        sent: tuple[Any, ...] = (self.thread_id, self.text, self.parent)
        if self.parameters != NO_PARAMETERS:
            sent = (*sent, self.parameters)
        if self.settings is not None:
            sent = (*sent, sorted(self.settings.items()))
        return sha256(repr(sent).encode()).hexdigest()

    def resolve(self, thread: Thread) -> ResolvedDraft:
        """Return what this comes to. Raises `ApiError` for a parent that is no reply of it."""
        if self.parent is None:
            return ResolvedDraft(None, None, self.text, self.parameters)
        if self.parent == "newest":
            end = statements.find_message(thread, thread.current_message_id)
            return ResolvedDraft(end, None, self.text, self.parameters)
        parent = statements.find_message(thread, int(self.parent))
        if parent is None or not parent.is_reply:
            problem = "A message follows one of the bot's in the same thread."
            raise ApiError(problem, fields={"parent_id": [problem]})
        return ResolvedDraft(parent, None, self.text, self.parameters)


@dataclass(frozen=True, slots=True)
class Regeneration:
    """Another reply to the same question, which is not repeated.

    `message_id` names a reply, or the question itself; None is the last message of the current
    branch. `key` and `parameters` are as for a `Draft`; what they leave open of format and
    instructions is as for the reply before.
    """

    user: User
    thread_id: int
    message_id: int | None
    key: str
    parameters: Parameters

    @property
    def digest(self) -> str:
        """A hash of what is sent."""
        sent = (self.thread_id, "regenerate", self.message_id, self.parameters)
        return sha256(repr(sent).encode()).hexdigest()

    def resolve(self, thread: Thread) -> ResolvedDraft:
        """Return what this comes to. Raises `Http404` and `NothingToRegenerate`."""
        named = self.message_id or thread.current_message_id
        message = statements.find_message(thread, named)
        if message is None and self.message_id is not None:
            raise Http404
        question = message.parent if message and message.is_reply else message
        if question is None or question.is_reply:
            raise NothingToRegenerate
        parent, parameters = None, self.parameters
        if question.parent_id is not None:
            parent = statements.find_message(thread, question.parent_id)
        if message and message.is_reply:
            if parameters.format is None:
                parameters = replace(parameters, format=message.format)
            parameters = replace(parameters, instructions=message.instructions)
        return ResolvedDraft(parent, question, question.content, parameters)

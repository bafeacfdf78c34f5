"""Responses: what a request for one comes to, and the replies that they are."""

import re
from collections.abc import Sequence

from django.http import Http404

from accounts.authentication import UserRequest
from accounts.models import User
from chat import statements
from chat.models import Message, Sender
from chat.ollama.client import ChatMessage
from chat.replies.drafts import Draft
from chat.replies.parameters import Parameters
from chat.views.replies import ask, key_of
from core.database import in_database
from core.errors import ApiError, NotFound
from openai_api import generation
from openai_api.generation import Generation
from openai_api.schemas import InputMessage, ResponseBody

MAX_ID = 2**63


def number_in(name: str, prefix: str) -> int:
    """Return the id of the row that an OpenAI id names. Raises `NotFound` for no such id.

    `prefix` is a regular expression.
    """
    found = re.fullmatch(rf"(?:{prefix})_([0-9]{{1,19}})", name)
    if not found or int(found[1]) >= MAX_ID:
        raise NotFound(f"There is no {name}.")
    return int(found[1])


def find(user: User, name: str, prefix: str = "resp") -> Message:
    """Return the user's reply that an OpenAI id names; blocks on the database.

    `prefix` is as for `number_in`. Raises `NotFound`.
    """
    reply_id = number_in(name, prefix)
    rows = Message.objects.visible().select_related("thread", "parent")
    reply = rows.filter(pk=reply_id, thread__user=user, sender=Sender.BOT).first()
    if reply is None:
        raise NotFound(f"There is no {name}.")
    return reply


async def begin(request: UserRequest, body: ResponseBody) -> int:
    """Send an input to a thread, one that exists or a new one; return the reply's id.

    Raises `NotFound` and what `ask` raises.
    """
    text, parameters = question_of(body)
    thread_id, parent = await in_database(place_of, request.auth, body)
    fields = None
    if not thread_id:
        fields = {"model": body.model} if body.model else {}
    key = key_of(request)
    return await ask(request, Draft(request.auth, thread_id, text, parent, key, parameters, fields))


def question_of(body: ResponseBody) -> tuple[str, Parameters]:
    """Return what a request says, and how it is to be answered.

    Raises `ApiError` where it says nothing, or has what the model said before.
    """
    said: dict[str, list[str]] = {"system": [], "user": []}
    for message in body.messages:
        if message.role == "assistant":
            problem = (
                "The server keeps the conversation: name what it follows by previous_response_id, "
                "or send the whole conversation with store: false."
            )
            raise ApiError(problem, fields={"input": [problem]})
        said["system" if message.is_instruction else "user"].append(message.text)
    text = "\n\n".join(said["user"])
    if not text.strip():
        raise ApiError(fields={"input": ["There is no message of the user's in it."]})
    return text, Parameters(
        model=body.model or "",
        options=body.options(),
        instructions=instructions_of(body, said["system"]),
        format=body.format(),
        in_background=bool(body.background),
    )


def instructions_of(body: ResponseBody, system: Sequence[str]) -> str | None:
    """Return the system prompt of a response: the instructions, and what else has that role."""
    parts = [body.instructions or "", *system]
    if body.instructions is None and not system:
        return None
    return "\n\n".join(part for part in parts if part)


def place_of(user: User, body: ResponseBody) -> tuple[int, int | str | None]:
    """Return the id of the thread that a request goes on with, and the message that it follows.

    They are as for a `Draft`.

    Raises `NotFound`.
    """
    if (body.previous_response_id or body.follows) and body.conversation:
        problem = "Name either the previous response or the conversation."
        raise ApiError(problem, fields={"conversation": [problem]})
    if body.previous_response_id:
        previous = find(user, body.previous_response_id)
        return previous.thread_id, previous.pk
    if body.follows:
        previous = find(user, body.follows, "msg|rs")
        return previous.thread_id, previous.pk
    if body.conversation:
        name = body.conversation.id
        try:
            return statements.get_thread(user, number_in(name, "conv")).pk, "newest"
        except Http404:
            raise NotFound(f"There is no {name}.") from None
    return 0, None


async def begin_unstored(user: User, body: ResponseBody) -> Generation:
    """Have the model answer an input of which nothing is stored."""
    if body.previous_response_id or body.conversation or body.follows or body.background:
        problem = "This needs a stored response."
        raise ApiError(problem, fields={"store": [problem]})
    if body.model is None:
        raise ApiError(fields={"model": ["Name a model."]})
    messages = [ChatMessage(role=role_of(m), content=m.text) for m in body.messages]
    if body.instructions:
        messages.insert(0, ChatMessage(role="system", content=body.instructions))
    options = body.options() or {}
    return await generation.begin(user, body.model, messages, options, body.format())


def role_of(message: InputMessage) -> str:
    """Return the role of a message in Ollama's words."""
    return "system" if message.role == "developer" else message.role

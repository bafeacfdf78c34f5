"""Responses: replies of threads, as OpenAI's clients see them."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from accounts.models import User
from chat import statements, threads
from chat.models import Message, MessageStatus, Sender, Thread
from chat.ollama.client import ChatMessage
from chat.replies import actions
from chat.replies.drafts import Draft
from chat.replies.events import End, Failure, last_event
from chat.replies.parameters import Parameters, thread_as_seen
from core.database import in_database
from core.errors import ApiError, NotFound
from openai_api import generation
from openai_api.errors import to_openai
from openai_api.generation import Generation, require_model
from openai_api.schemas import Conversation, InputMessage, ResponseBody

STATUSES = {
    MessageStatus.GENERATING: "in_progress",
    MessageStatus.COMPLETE: "completed",
    MessageStatus.STOPPED: "cancelled",
    MessageStatus.INTERRUPTED: "failed",
    MessageStatus.FAILED: "failed",
}
MAX_ID = 2**63
OLLAMAS_TEMPERATURE, OLLAMAS_TOP_P = 0.8, 0.9  # unless the model brings others

Json = dict[str, Any]


def number_in(name: str, prefix: str) -> int:
    """Return the id of the row that an OpenAI id names. Raises `NotFound` for no such id."""
    found = re.fullmatch(rf"{prefix}_([0-9]{{1,19}})", name)
    if not found or int(found[1]) >= MAX_ID:
        raise NotFound(f"There is no {name}.")
    return int(found[1])


def find(user: User, reply_id: int) -> Message:
    """Return one of the user's replies; blocks on the database. Raises `NotFound`."""
    rows = Message.objects.visible().select_related("thread", "parent")
    reply = rows.filter(pk=reply_id, thread__user=user, sender=Sender.BOT).first()
    if reply is None:
        raise NotFound("There is no such response.")
    return reply


async def begin(user: User, body: ResponseBody) -> int:
    """Send an input to a thread, one that exists or a new one; return the reply's id.

    Raises `NotFound`, `ModelNotFound`, and what `actions.send` raises.
    """
    text, parameters = question_of(body)
    thread, parent = await in_database(place_of, user, body)
    if body.model and not (thread and thread.model == body.model):
        await require_model(body.model)
    if thread:
        draft = Draft(user, thread.pk, text, parent, "", parameters)
        return await actions.send(draft, thread)
    fields = {"model": body.model} if body.model else {}
    draft = Draft(user, 0, text, None, "", parameters, fields)
    return await actions.send(draft, threads.new(user, fields))


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
        said["user" if message.role == "user" else "system"].append(message.text)
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


def place_of(user: User, body: ResponseBody) -> tuple[Thread | None, int | str]:
    """Return the thread that a request goes on with, None for a new one, and what it follows.

    Raises `NotFound`.
    """
    if body.previous_response_id and body.conversation:
        problem = "Name either the previous response or the conversation."
        raise ApiError(problem, fields={"conversation": [problem]})
    if body.previous_response_id:
        previous = find(user, number_in(body.previous_response_id, "resp"))
        return previous.thread, previous.pk
    if body.conversation:
        given = body.conversation
        name = given.id if isinstance(given, Conversation) else given
        return statements.get_thread(user, number_in(name, "conv")), "newest"
    return None, "newest"


async def begin_unstored(user: User, body: ResponseBody) -> Generation:
    """Have the model answer an input of which nothing is stored."""
    if body.previous_response_id or body.conversation or body.background:
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


def of_reply(reply: Message) -> Json:
    """Return a stored reply as a response."""
    question, thread = reply.parent, thread_as_seen(reply)
    previous = question.parent_id if question else None
    response = blank(
        f"resp_{reply.pk}",
        reply.created_at.timestamp(),
        reply.model,
        options=thread.options,
        format=reply.format,
        instructions=reply.instructions,
    )
    response |= {
        "background": reply.in_background,
        "conversation": {"id": f"conv_{reply.thread_id}"},
        "previous_response_id": f"resp_{previous}" if previous else None,
        "status": STATUSES[MessageStatus(reply.status)],
        "store": True,
    }
    if reply.status == MessageStatus.GENERATING:
        response["output"] = output_of(response["id"], reply.content, reply.thinking, "in_progress")
        return response
    return ended(response, reply.content, reply.thinking, last_event(reply))


def of_generation(body: ResponseBody, created_at: float) -> Json:
    """Return a response that is stored nowhere, before it has begun."""
    return blank(
        f"resp_{uuid4().hex}",
        created_at,
        body.model or "",
        options=body.options() or {},
        format=body.format(),
        instructions=body.instructions,
    )


def blank(
    response_id: str,
    created_at: float,
    model: str,
    *,
    options: Json,
    format: object,
    instructions: str | None,
) -> Json:
    """Return a response that has just begun."""
    kind: Json = {"type": "text"}
    if format == "json":
        kind = {"type": "json_object"}
    elif format is not None:
        kind = {"type": "json_schema", "name": "schema", "schema": format, "strict": True}
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(created_at),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "conversation": None,
        "error": None,
        "frequency_penalty": 0,
        "incomplete_details": None,
        "instructions": instructions,
        "max_output_tokens": options.get("num_predict"),
        "max_tool_calls": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": False,
        "presence_penalty": 0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": options.get("temperature", OLLAMAS_TEMPERATURE),
        "text": {"format": kind},
        "tool_choice": "none",
        "tools": [],
        "top_logprobs": 0,
        "top_p": options.get("top_p", OLLAMAS_TOP_P),
        "truncation": "auto",
        "usage": None,
        "user": None,
    }


def begun(response: Json) -> Json:
    """Return a response as it was when it began."""
    nothing_yet = dict.fromkeys(("completed_at", "error", "incomplete_details", "usage"))
    return {**response, **nothing_yet, "status": "in_progress", "output": []}


def ended(response: Json, text: str, thinking: str, event: End | Failure) -> Json:
    """Return a response as it is after its last event."""
    status, error, details = "completed", None, None
    match event:
        case Failure(cause):
            status = "failed"
            told = to_openai(cause.body(), cause.status)
            error = {"code": "server_error", "message": told["message"]}
        case End(status=MessageStatus.STOPPED):
            status = "cancelled"
        case End(finish_reason="length"):
            status, details = "incomplete", {"reason": "max_output_tokens"}
    part_status = "completed" if status == "completed" else "incomplete"
    took = (event.usage or {}).get("duration_ms") if isinstance(event, End) else None
    completed_at = None if took is None else response["created_at"] + took // 1000
    return {
        **response,
        "status": status,
        "completed_at": completed_at if status == "completed" else None,
        "error": error,
        "incomplete_details": details,
        "output": output_of(response["id"], text, thinking, part_status),
        "usage": usage_of(event) if isinstance(event, End) else None,
    }


def output_of(response_id: str, text: str, thinking: str, status: str) -> list[Json]:
    """Return what the model thought and wrote, as the items of an output."""
    number = response_id.removeprefix("resp_")
    items = []
    if thinking:
        part = {"type": "reasoning_text", "text": thinking}
        items.append(reasoning_item(number, [part], "completed" if text else status))
    if text or not thinking:
        items.append(message_item(number, [text_part(text)], status))
    return items


def reasoning_item(number: str, content: list[Json], status: str) -> Json:
    """Return the item of what the model thinks."""
    return {
        "id": f"rs_{number}",
        "type": "reasoning",
        "summary": [],
        "content": content,
        "status": status,
    }


def message_item(number: str, content: list[Json], status: str) -> Json:
    """Return the item of the model's message."""
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "status": status,
    }


def text_part(text: str) -> Json:
    """Return a text as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def input_of(reply: Message) -> Json:
    """Return what a reply answers, as a list of OpenAI's."""
    question = reply.parent
    items = []
    if question:
        part = {"type": "input_text", "text": question.content}
        items.append(message_item(str(question.pk), [part], "completed") | {"role": "user"})
    ids = [item["id"] for item in items] or [None]
    return {
        "object": "list",
        "data": items,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": False,
    }


def usage_of(event: End) -> Json | None:
    """Return what a response has cost, if Ollama has told."""
    used = event.usage or {}
    prompt, completion = used.get("prompt_tokens"), used.get("completion_tokens")
    if prompt is None or completion is None:
        return None
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }

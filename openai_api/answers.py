"""A response as OpenAI's clients see it: a reply of a thread, or one that is stored nowhere."""

from typing import Any
from uuid import uuid4

from chat.models import Message, MessageStatus
from chat.replies.events import End, Failure, last_event
from chat.replies.parameters import thread_as_seen
from openai_api.errors import to_openai
from openai_api.schemas import ResponseBody

STATUSES = {
    MessageStatus.GENERATING: "in_progress",
    MessageStatus.COMPLETE: "completed",
    MessageStatus.STOPPED: "cancelled",
    MessageStatus.INTERRUPTED: "failed",
    MessageStatus.FAILED: "failed",
}
OLLAMAS_TEMPERATURE, OLLAMAS_TOP_P = 0.8, 0.9  # unless the model brings others

Json = dict[str, Any]


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

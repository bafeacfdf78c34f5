"""The answers that the model writes: /api/chat and /api/generate."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local_model.model import NAME, Ending, ModelError
from local_model.schemas import ChatRequest, GenerateRequest
from local_model.wire import MODEL, NDJSON, ApiError, line, read, require_bundled_model, rfc3339

# Returns the field of a record that has the text.
Form = Callable[[str], dict[str, Any]]

log = logging.getLogger(__name__)


def as_message(text: str) -> dict[str, Any]:
    """Return the field that has the text in an answer of ``/api/chat``."""
    return {"message": {"role": "assistant", "content": text}}


def as_response(text: str) -> dict[str, Any]:
    """Return the field that has the text in an answer of ``/api/generate``."""
    return {"response": text}


async def chat(request: web.Request) -> web.StreamResponse:
    """Reply to a conversation."""
    return await write(request, await read(request, ChatRequest), as_message)


async def generate(request: web.Request) -> web.StreamResponse:
    """Go on from a text."""
    return await write(request, await read(request, GenerateRequest), as_response)


async def write(
    request: web.Request, body: ChatRequest | GenerateRequest, form: Form
) -> web.StreamResponse:
    """Answer with what the model writes, as NDJSON lines or (``stream: false``) in one piece.

    The status line waits for the first token, so that an early failure has its own status.
    """
    started = time.perf_counter_ns()
    model = request.app[MODEL]
    require_bundled_model(body.model)
    if unsupported := body.unsupported_feature():
        raise ApiError(400, f'"{NAME}" does not support {unsupported}')
    if not body.messages:  # the way to have a model loaded
        return web.json_response(record(form(""), done=True, done_reason="load"))
    if isinstance(body, ChatRequest) and body.render_only:
        info = {"rendered_template": await model.render(body.messages)}
        return web.json_response(record(form(""), _debug_info=info))

    async with aclosing(model.write(body)) as pieces:
        if body.stream:
            return await stream(request, pieces, form, started)
        return await send_whole(pieces, form, started)


async def send_whole(pieces: AsyncIterator[str | Ending], form: Form, started: int) -> web.Response:
    """Answer with one record, with the whole text in it."""
    text, ending = "", None
    async for piece in pieces:
        if isinstance(piece, Ending):
            ending = piece
        else:
            text += piece
    return web.json_response(record(form(text), **(counts(ending, started) if ending else {})))


async def stream(
    request: web.Request, pieces: AsyncIterator[str | Ending], form: Form, started: int
) -> web.StreamResponse:
    """Answer with a line for each piece, and with one for an error midway."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    try:
        async for piece in pieces:
            if not response.prepared:
                await response.prepare(request)
            await response.write(
                line(
                    record(form(""), **counts(piece, started))
                    if isinstance(piece, Ending)
                    else record(form(piece))
                )
            )
    except ConnectionResetError:
        log.info("a client hung up")
    except ModelError as error:
        if not response.prepared:
            raise
        log.warning("a reply broke off: %s", error)
        await response.write(line({"error": str(error)}))
    return response


def record(text: dict[str, Any], *, done: bool = False, **more: Any) -> dict[str, Any]:
    """Return one record of an answer."""
    return {
        "model": NAME,
        "created_at": rfc3339(datetime.now(UTC)),
        **text,
        "done": done,
        **more,
    }


def counts(ending: Ending, started: int) -> dict[str, Any]:
    """Return the additional fields of an answer's last record; it began at ``started``.

    The model is always loaded, so ``load_duration`` is how long it waited for its turn.
    ``prompt_eval_count`` is the whole prompt, of which ``prompt_eval_cached_count`` tokens were
    not evaluated again; ``prompt_eval_duration`` is the time for the others.
    """
    return {
        "done": True,
        "done_reason": ending.reason,
        "total_duration": time.perf_counter_ns() - started,
        "load_duration": ending.waited,
        "prompt_eval_count": ending.prompt_tokens,
        "prompt_eval_cached_count": ending.cached_tokens,
        "prompt_eval_duration": ending.prompt_duration,
        "eval_count": ending.reply_tokens,
        "eval_duration": ending.reply_duration,
    }

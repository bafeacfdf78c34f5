"""Ollama's HTTP API for the bundled model: the routes and the shapes of their answers."""

import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from local_model.model import NAME, Ending, Model, ModelError
from local_model.schemas import Body, ChatRequest, ModelRequest

# The version of Ollama that this resembles; 0.33.3 added prompt_eval_cached_count.
VERSION = "0.33.3+bundled"
MAX_BODY = 8 * 2**20
NDJSON = "application/x-ndjson"
MODEL = web.AppKey("model", Model)

log = logging.getLogger(__name__)
AnyBody = TypeVar("AnyBody", bound=Body)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """Answered as ``{"error": message}`` with ``status``."""

    def __init__(self, status: int, message: str) -> None:
        """Take a message for the client's developer."""
        super().__init__(message)
        self.status = status


def build_app(model: Model) -> web.Application:
    """Return the web application that serves ``model``."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=MAX_BODY)
    app[MODEL] = model
    app.add_routes(
        [
            web.get("/", root),
            web.get("/api/version", version),
            web.get("/api/tags", tags),
            web.get("/api/ps", loaded),
            web.post("/api/show", show),
            web.post("/api/pull", pull),
            web.post("/api/chat", chat),
        ]
    )
    return app


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in Ollama's shape."""
    try:
        return await handler(request)
    except (ApiError, ModelError) as error:
        return web.json_response({"error": str(error)}, status=error.status)
    except web.HTTPError as error:
        return web.json_response({"error": error.reason.lower()}, status=error.status)


async def read(request: web.Request, schema: type[AnyBody]) -> AnyBody:
    """Parse the body, whatever its content type (Ollama ignores that too).

    Invalid input is a 400, whose message never repeats it.
    """
    body = await request.read()
    if not body:
        raise ApiError(400, "missing request body")
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"{place}: {first['msg']}" if place else first["msg"]) from None


def require_bundled_model(name: str) -> None:
    """Raise ApiError unless a request is for the bundled model: 400 without a name, else 404."""
    if not name:
        raise ApiError(400, "model is required")
    if name != NAME:
        raise ApiError(404, f"model '{name}' not found")


def rfc3339(moment: datetime) -> str:
    """Return a UTC time as Ollama writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def details(model: Model) -> dict[str, Any]:
    """Return the summary of the model that several answers contain."""
    family = model.metadata["general.architecture"]
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": f"{model.metadata['general.parameter_count'] / 1e6:.2f}M",
        "quantization_level": model.path.stem.rpartition(".")[2],
    }


def identity(model: Model) -> dict[str, Any]:
    """Return the fields that ``/api/tags`` and ``/api/ps`` share."""
    return {
        "name": NAME,
        "model": NAME,
        "size": model.size,
        "digest": model.digest,
        "details": details(model),
    }


async def root(_: web.Request) -> web.Response:
    """Say that the server is running."""
    return web.Response(text="Ollama is running")


async def version(_: web.Request) -> web.Response:
    """Return the version of Ollama that this resembles."""
    return web.json_response({"version": VERSION})


async def tags(request: web.Request) -> web.Response:
    """List the one model."""
    model = request.app[MODEL]
    entry = {**identity(model), "modified_at": rfc3339(model.modified_at)}
    return web.json_response({"models": [entry]})


async def loaded(request: web.Request) -> web.Response:
    """List the loaded models: always the one, with the context length that each chat has."""
    model = request.app[MODEL]
    forever = rfc3339(datetime.max.replace(tzinfo=UTC, microsecond=0))
    entry = {
        **identity(model),
        "expires_at": forever,
        "size_vram": 0,
        "context_length": model.context,
    }
    return web.json_response({"models": [entry]})


async def show(request: web.Request) -> web.Response:
    """Describe the model: its metadata, with the context length it was trained for, and abilities.

    ``parameters`` has the context length that is served, in Modelfile syntax.
    """
    require_bundled_model((await read(request, ModelRequest)).model_name)
    model = request.app[MODEL]
    template = model.metadata["tokenizer.chat_template"]
    return web.json_response(
        {
            "license": model.metadata.get("general.license", ""),
            "modelfile": f"FROM {model.path.name}\nPARAMETER num_ctx {model.context}\n",
            "parameters": f"num_ctx {model.context}",
            "template": template,
            "details": details(model),
            "model_info": model.metadata,
            "capabilities": ["completion"],
            "modified_at": rfc3339(model.modified_at),
        }
    )


async def pull(request: web.Request) -> web.StreamResponse:
    """Succeed at once for the bundled model; fail for others, as Ollama does for unknown ones."""
    body = await read(request, ModelRequest)
    if not body.model_name:
        raise ApiError(400, "invalid model name")
    if body.model_name != NAME:
        raise ApiError(500, "pull model manifest: file does not exist")
    content_type = NDJSON if body.stream else "application/json"
    return web.Response(body=line({"status": "success"}), content_type=content_type)


async def chat(request: web.Request) -> web.StreamResponse:
    """Reply to a conversation, as NDJSON lines or (``stream: false``) in one piece.

    The status line waits for the first token, so that an early failure has its own status.
    """
    started = time.perf_counter_ns()
    model = request.app[MODEL]
    body = await read(request, ChatRequest)
    require_bundled_model(body.model)
    if body.unsupported_feature:
        raise ApiError(400, f'"{NAME}" does not support {body.unsupported_feature}')
    if not body.messages:  # the way to have a model loaded
        return web.json_response(record(done=True, done_reason="load"))

    async with aclosing(records(model, body, started)) as answer:
        return await (stream(request, answer) if body.stream else send_whole(answer))


async def records(
    model: Model, body: ChatRequest, started: int
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the chat's answer as Ollama's records, the last one with the counts."""
    pieces = model.reply(body.messages, body.options, truncate=body.truncate)
    async with aclosing(pieces) as reply:
        async for piece in reply:
            yield record(**counts(piece, started)) if isinstance(piece, Ending) else record(piece)


async def send_whole(answer: AsyncIterator[dict[str, Any]]) -> web.Response:
    """Answer with the last record, with the whole text in it."""
    parts = [part async for part in answer]
    text = "".join(part["message"]["content"] for part in parts)
    return web.json_response(parts[-1] | {"message": {"role": "assistant", "content": text}})


async def stream(request: web.Request, answer: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    """Answer with a line for each record, and with one for an error midway."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    try:
        async for part in answer:
            if not response.prepared:
                await response.prepare(request)
            await response.write(line(part))
    except ConnectionResetError:
        log.info("a client hung up")
    except ModelError as error:
        if not response.prepared:
            raise
        log.warning("a reply broke off: %s", error)
        await response.write(line({"error": str(error)}))
    return response


def record(text: str = "", *, done: bool = False, **more: Any) -> dict[str, Any]:
    """Return one record of a chat's answer."""
    return {
        "model": NAME,
        "created_at": rfc3339(datetime.now(UTC)),
        "message": {"role": "assistant", "content": text},
        "done": done,
        **more,
    }


def counts(ending: Ending, started: int) -> dict[str, Any]:
    """Return the additional fields of a chat's last record; the chat began at ``started``.

    The model is always loaded, so ``load_duration`` is how long the chat waited for its turn.
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


def line(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as a line of NDJSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"

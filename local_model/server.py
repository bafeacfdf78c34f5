"""Ollama's HTTP API for the bundled model: the routes, and the answers about the model."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local_model import answers
from local_model.model import NAME, Model, ModelError
from local_model.schemas import ModelRequest
from local_model.wire import (
    MODEL,
    NDJSON,
    ApiError,
    line,
    read,
    require_bundled_model,
    rfc3339,
)

# The version of Ollama that this resembles; 0.33.3 added prompt_eval_cached_count.
VERSION = "0.33.3+bundled"
MAX_BODY = 8 * 2**20
CAPABILITIES = ["completion"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
            web.post("/api/chat", answers.chat),
            web.post("/api/generate", answers.generate),
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
    entry = {
        **identity(model),
        "modified_at": rfc3339(model.modified_at),
        "capabilities": CAPABILITIES,
    }
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
    """Describe the model: its metadata and its capabilities.

    The context length is the one that is served, so that no client asks for more; the model was
    trained for a longer one.
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
            "model_info": model.metadata | {model.context_key: model.context},
            "capabilities": CAPABILITIES,
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

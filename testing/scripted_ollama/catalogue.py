"""The routes about models: what there is, what is loaded, and pulling."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from testing.scripted_ollama import templates, wire
from testing.scripted_ollama.script import ModelInfo, to_json
from testing.scripted_ollama.wire import full_name

if TYPE_CHECKING:
    from testing.scripted_ollama.server import ScriptedOllama


class Catalogue:
    """The handlers of these routes."""

    def __init__(self, ollama: "ScriptedOllama") -> None:
        self._ollama = ollama

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/", self._root)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self._ollama.version})

    async def _tags(self, request: web.Request) -> web.Response:
        models = [
            wire.entry(name, model) | {"capabilities": list(model.capabilities)}
            for name, model in self._ollama.models.items()
        ]
        return web.json_response({"models": models})

    async def _ps(self, request: web.Request) -> web.Response:
        expires_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        loaded = [
            wire.entry(name, self._ollama.models[name])
            | {"expires_at": expires_at, "size_vram": 0, "context_length": runner.window}
            for name, runner in self._ollama.loader.runners.items()
            if name in self._ollama.models
        ]
        return web.json_response({"models": loaded})

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body.get("model") or body.get("name") or ""
        model = self._ollama.models.get(full_name(name))
        if model is None:
            return wire.missing(name)
        return web.json_response(
            {
                "modelfile": f"FROM {name}",
                "parameters": 'stop "<|eot_id|>"',
                "template": templates.shown(model.template),
                "details": model.details(),
                "model_info": {
                    "general.architecture": model.architecture,
                    "general.parameter_count": 3_212_749_888,
                    f"{model.architecture}.context_length": model.context_length,
                },
                "capabilities": list(model.capabilities),
                "modified_at": wire.MODIFIED_AT,
            }
        )

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        ollama = self._ollama
        body = await request.json()
        name = full_name(body.get("model") or body.get("name") or "")
        model = ollama.models.get(name, ModelInfo())
        digest = wire.entry(name, model)["digest"]
        layer = {"status": f"pulling {digest[:12]}", "digest": digest, "total": model.size}
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if ollama.pull_error is None:
            steps += [layer | {"completed": model.size * tenth // 10} for tenth in range(11)]
            steps += [{"status": "verifying sha256 digest"}, {"status": "writing manifest"}]
            steps += [{"status": "success"}]
            ollama.models.setdefault(name, model)
        else:
            steps += [{"error": ollama.pull_error}]
        if body.get("stream") is False:
            return web.json_response(steps[-1], status=200 if ollama.pull_error is None else 500)
        response = await wire.start_ndjson(request)
        for step in steps:
            await response.write(f"{to_json(step)}\n".encode())
        return response

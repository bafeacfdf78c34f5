"""What all answers share: reading a body, errors, and the bytes that are sent."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from local_model.model import NAME, Model
from local_model.schemas import Body

NDJSON = "application/x-ndjson"
MODEL = web.AppKey("model", Model)

AnyBody = TypeVar("AnyBody", bound=Body)


class ApiError(Exception):
    """Answered as ``{"error": message}`` with ``status``."""

    def __init__(self, status: int, message: str) -> None:
        """Take a message for the client's developer."""
        super().__init__(message)
        self.status = status


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


def line(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as a line of NDJSON."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"

"""OpenAI's shape of an error."""

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from chat.ollama.errors import UnknownModel
from core.errors import ApiError
from core.middleware import AsyncMiddleware

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
CODES = {"not_authenticated": "invalid_api_key", "rate_limited": "rate_limit_exceeded"}


class ModelNotFound(ApiError):
    """The model that was named does not exist."""

    status, code = 404, "model_not_found"


def handle_unknown_model(request: HttpRequest, error: UnknownModel) -> HttpResponse:
    """Return the response to a request for a model that Ollama does not have."""
    return ModelNotFound(error.fields["model"][0] if error.fields else None).response()


class OpenAiErrors(AsyncMiddleware):
    """Gives every error under /v1/ OpenAI's shape, whatever has made it."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response."""
        response = await self.get_response(request)
        is_error = response.status_code >= 400 and f"{request.path_info}/".startswith("/v1/")
        if not (is_error and isinstance(response, HttpResponse)):
            return response
        body = json.loads(response.content)
        response.content = json.dumps({"error": to_openai(body, response.status_code)}).encode()
        response.headers["Content-Length"] = str(len(response.content))
        return response


def to_openai(body: Mapping[str, Any], status: int) -> dict[str, str | None]:
    """Return the `error` that OpenAI's clients read, of one with our own shape."""
    fields: Mapping[str, list[str]] = body.get("fields") or {}
    parameter = next(iter(fields), None)
    message, code = body["error"], CODES.get(body["code"], body["code"])
    if parameter == "message":  # which no body here has: it is the prompt that is too long
        parameter, code = None, "context_length_exceeded"
    if parameter and parameter not in message:
        message = f"{parameter}: {fields[parameter][0]}"
    kind = "server_error" if status >= 500 else TYPES.get(status, "invalid_request_error")
    return {"message": message, "type": kind, "param": parameter, "code": code}

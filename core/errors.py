"""The errors that the code raises, and the one JSON shape in which clients see them.

Domain code raises an `ApiError`; `error_handlers.py` and `middleware.py` turn it into a response.
Nothing else makes an error response. To add an error: a subclass with `status`, `code` and
`message`, here or next to the code that raises it.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.http import JsonResponse

Fields = Mapping[str, list[str]]

MAX_FIELDS = 20  # in one response


class ApiError(Exception):
    """An error response, status 400 or higher: one sentence for a person, a code for programs.

    `fields` maps the names of the request's fields to what is wrong with each; `headers` are sent
    with the response.
    """

    status = 400
    code = "invalid"
    message = "The request is not valid."

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Fields | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or self.message
        self.fields = fields
        self.headers = headers or {}
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """Return the JSON object that a client reads."""
        body: dict[str, Any] = {"error": self.message, "code": self.code}
        if self.fields:
            body["fields"] = self.fields
        return body

    def response(self) -> JsonResponse:
        """Return the error as an HTTP response."""
        return JsonResponse(self.body(), status=self.status, headers=dict(self.headers))


class InvalidJson(ApiError):
    code, message = "invalid_json", "The body is not valid JSON."


class NotAuthenticated(ApiError):
    status, code, message = 401, "not_authenticated", "Log in first."


class Forbidden(ApiError):
    status, code, message = 403, "forbidden", "You are not allowed to do this."


class CrossOrigin(ApiError):
    status, code = 403, "cross_origin"
    message = "This site is not allowed to call the API: see the setting FRONTEND_ORIGINS."


class NotFound(ApiError):
    status, code, message = 404, "not_found", "There is nothing here."


class MethodNotAllowed(ApiError):
    status, code, message = 405, "method_not_allowed", "This address does not support that method."


class RequestTimeout(ApiError):
    status, code, message = 408, "request_timeout", "The request did not arrive in time."


class TooLarge(ApiError):
    status, code, message = 413, "too_large", "The body is larger than 1 MiB."


class UnsupportedMediaType(ApiError):
    status, code = 415, "unsupported_media_type"
    message = "Send the body as JSON, with Content-Type: application/json."


class HeadersTooLarge(ApiError):
    status, code, message = 431, "headers_too_large", "The headers are larger than 64 KiB."


class RateLimited(ApiError):
    status, code, message = 429, "rate_limited", "Too many requests: wait a little and try again."


class ServerError(ApiError):
    status, code = 500, "server_error"
    message = "Something went wrong on the server. The error has been logged."


class Unavailable(ApiError):
    status, code = 503, "unavailable"
    message = "The service is unavailable at the moment: try again soon."


class ServerShuttingDown(Unavailable):
    """This process is about to end, and another will take its place."""

    message = "The server is about to restart: try again in a moment."

    def __init__(
        self, message: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, headers={"Retry-After": "1", **(headers or {})})


BY_STATUS: dict[int, type[ApiError]] = {
    error.status: error
    for error in (
        ApiError,
        NotAuthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        RequestTimeout,
        TooLarge,
        UnsupportedMediaType,
        HeadersTooLarge,
        RateLimited,
        ServerError,
        Unavailable,
    )
}


def error_for_status(status: int) -> ApiError:
    """Return the error for the HTTP status of a response that was made outside this project."""
    if status in BY_STATUS:
        return BY_STATUS[status]()
    error = ApiError(f"{HTTPStatus(status).phrase}.")
    error.status, error.code = status, HTTPStatus(status).name.lower()
    return error

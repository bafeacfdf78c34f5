"""The one NinjaAPI: its routes, how it reads bodies, and the error shape of all it answers."""

import logging
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from pydantic_core import from_json, to_json

from accounts.authentication import session_or_token
from accounts.views import router as accounts_router
from chat.views import router as chat_router
from chat.views import usage_router
from llama_chatbot.errors import (
    ApiError,
    InvalidJson,
    NotAuthenticated,
    NotFound,
    Unavailable,
    UnsupportedMediaType,
)
from llama_chatbot.health import router as health_router

logger = logging.getLogger(__name__)


class StrictJson(Parser):
    """Reads a body as JSON only, of the declared media type only."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the parsed body. Raises `UnsupportedMediaType` and `InvalidJson`."""
        if request.content_type != "application/json":
            raise UnsupportedMediaType
        try:
            # Unlike `json.loads` it stops at 200 nested brackets and at a lone surrogate.
            return from_json(request.body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidJson from error


class Json(BaseRenderer):
    """Writes answers as JSON in pydantic's way: Django's encoder takes eight times as long."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        """Return the answer's body."""
        return to_json(data)


def refuse_fields(view: Callable[..., Any]) -> Callable[..., Any]:
    """Have a call that takes no fields refuse them, as calls that take some refuse others."""
    if "body" in signature(view).parameters:
        return view

    def check(request: HttpRequest) -> None:
        if request.method != "GET" and request.body:
            body = api.parser.parse_body(request)
            if body != {}:
                names = body if isinstance(body, dict) else ["body"]
                raise ApiError(
                    "This call takes no fields.",
                    fields={name: ["Extra inputs are not permitted"] for name in names},
                )

    if iscoroutinefunction(view):

        @wraps(view)
        async def async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            check(request)
            return await view(request, *args, **kwargs)

        return async_view

    @wraps(view)
    def sync_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        check(request)
        return view(request, *args, **kwargs)

    return sync_view


api = NinjaAPI(
    title="Llama Chatbot",
    version="1",
    auth=session_or_token,
    parser=StrictJson(),
    renderer=Json(),
    docs_url="/docs/",
)
api.add_decorator(refuse_fields)
api.add_router("/auth/usage/", usage_router)
api.add_router("/auth/", accounts_router)
api.add_router("/chat/", chat_router)
api.add_router("/health/", health_router)


@api.exception_handler(ApiError)
def answer_api_error(request: HttpRequest, error: ApiError) -> HttpResponse:
    """Answer what the domain code raised."""
    return error.response()


@api.exception_handler(HttpError)
def answer_ninja_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Answer Ninja's own errors: it wraps whatever `StrictJson` raises in one."""
    return (error.__cause__ if isinstance(error.__cause__, ApiError) else ApiError()).response()


@api.exception_handler(AuthenticationError)
def answer_nobody(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Answer a call that needs somebody who is logged in."""
    return NotAuthenticated().response()


@api.exception_handler(Http404)
def answer_missing(request: HttpRequest, error: Http404) -> HttpResponse:
    """Answer `get_object_or_404`, whose own words name the model."""
    return NotFound().response()


@api.exception_handler(ValidationError)
def answer_invalid_request(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Answer a body or a query that its schema refuses, each field by its name."""
    fields: dict[str, list[str]] = {}
    for problem in error.errors:
        # loc is ("body", parameter, field, …) for a body and ("query", field) for a query.
        source, *path = map(str, problem["loc"])
        name = ".".join(path[1:] if source == "body" else path) or source
        fields.setdefault(name, []).append(say(problem))
    return ApiError("Some fields are not valid.", fields=fields).response()


def say(problem: dict[str, Any]) -> str:
    """Return Pydantic's words for what is wrong, or better ones."""
    match problem:
        case {"type": "model_type" | "model_attributes_type"}:  # its own words name our class
            return "This must be a JSON object."
        case {"type": "too_long", "ctx": {"field_type": "Value", "max_length": length}}:
            return f"This must have at most {length} characters."
    return str(problem["msg"])


@api.exception_handler(DjangoValidationError)
def answer_invalid_model(request: HttpRequest, error: DjangoValidationError) -> HttpResponse:
    """Answer what a model's own validation refuses."""
    return ApiError("Some fields are not valid.", fields=error.message_dict).response()


@api.exception_handler(OperationalError)
def answer_without_database(request: HttpRequest, error: OperationalError) -> HttpResponse:
    """Answer while the database is away or locked for long; SQLite's own mistakes are crashes."""
    if connection.vendor == "sqlite" and "locked" not in str(error):
        raise error
    logger.exception("The database does not answer")
    return Unavailable().response()


@api.exception_handler(Exception)
def raise_again(request: HttpRequest, error: Exception) -> HttpResponse:
    """Leave a crash to Django, which logs it; `JsonErrors` makes the answer."""
    raise error

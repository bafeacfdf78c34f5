"""Turns whatever a call raises into an answer of the one error shape."""

import logging
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from core.errors import ApiError, NotAuthenticated, NotFound, Unavailable

logger = logging.getLogger(__name__)


def register(api: NinjaAPI) -> None:
    """Have `api` answer every error in the one shape."""
    api.exception_handler(ApiError)(answer_api_error)
    api.exception_handler(HttpError)(answer_ninja_error)
    api.exception_handler(AuthenticationError)(answer_nobody)
    api.exception_handler(Http404)(answer_missing)
    api.exception_handler(ValidationError)(answer_invalid_request)
    api.exception_handler(DjangoValidationError)(answer_invalid_model)
    api.exception_handler(OperationalError)(answer_without_database)
    api.exception_handler(Exception)(raise_again)


def answer_api_error(request: HttpRequest, error: ApiError) -> HttpResponse:
    """Answer what the domain code raised."""
    return error.response()


def answer_ninja_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Answer Ninja's own errors: it wraps whatever the parser raises in one."""
    return (error.__cause__ if isinstance(error.__cause__, ApiError) else ApiError()).response()


def answer_nobody(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Answer a call that needs somebody who is logged in."""
    return NotAuthenticated().response()


def answer_missing(request: HttpRequest, error: Http404) -> HttpResponse:
    """Answer `get_object_or_404`, whose own words name the model."""
    return NotFound().response()


def answer_invalid_request(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Answer a body or a query that its schema refuses, each field by its name."""
    fields: dict[str, list[str]] = {}
    for problem in error.errors:
        # loc is ("body", parameter, field, …) for a body and ("query", field) for a query.
        source, *path = map(str, problem["loc"])
        name = ".".join(path[1:] if source == "body" else path) or source
        fields.setdefault(name, []).append(describe(problem))
    return ApiError("Some fields are not valid.", fields=fields).response()


def describe(problem: dict[str, Any]) -> str:
    """Return Pydantic's words for what is wrong, or better ones."""
    match problem:
        case {"type": "model_type" | "model_attributes_type"}:  # its own words name our class
            return "This must be a JSON object."
        case {"type": "too_long", "ctx": {"field_type": "Value", "max_length": length}}:
            return f"This must have at most {length} characters."
    return str(problem["msg"])


def answer_invalid_model(request: HttpRequest, error: DjangoValidationError) -> HttpResponse:
    """Answer what a model's own validation refuses."""
    return ApiError("Some fields are not valid.", fields=error.message_dict).response()


def answer_without_database(request: HttpRequest, error: OperationalError) -> HttpResponse:
    """Answer while the database is away or locked for long; SQLite's own mistakes are crashes."""
    if connection.vendor == "sqlite" and "locked" not in str(error):
        raise error
    logger.exception("The database does not answer")
    return Unavailable().response()


def raise_again(request: HttpRequest, error: Exception) -> HttpResponse:
    """Leave a crash to Django, which logs it; the middleware `JsonErrors` makes the answer."""
    raise error

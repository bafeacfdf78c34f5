"""Turns the exceptions that views raise into error responses of the contract's shape."""

import logging
from collections.abc import Mapping
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from core import ratelimit
from core.database import outage
from core.errors import MAX_FIELDS, ApiError, NotAuthenticated, NotFound, Unavailable

logger = logging.getLogger(__name__)


def register(api: NinjaAPI) -> None:
    """Register the handlers with `api`."""
    api.exception_handler(ApiError)(handle_api_error)
    api.exception_handler(HttpError)(handle_ninja_error)
    api.exception_handler(AuthenticationError)(handle_unauthenticated)
    api.exception_handler(Http404)(handle_not_found)
    api.exception_handler(ValidationError)(handle_invalid_request)
    api.exception_handler(DjangoValidationError)(handle_invalid_model)
    api.exception_handler(DatabaseError)(handle_database_error)
    api.exception_handler(Exception)(reraise)


def handle_api_error(request: HttpRequest, error: ApiError) -> HttpResponse:
    """Return the response to an error of our own."""
    return error.response()


def handle_ninja_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Return the response to one of Ninja's errors, which also wrap what the parser raises."""
    ratelimit.count_refused(request)
    return (error.__cause__ if isinstance(error.__cause__, ApiError) else ApiError()).response()


def handle_unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Return the response to a request without the login that it needs."""
    return NotAuthenticated().response()


def handle_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    """Return the response to `get_object_or_404`, whose own message names the model."""
    return NotFound().response()


def handle_invalid_request(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Return the response to a body or a query that its schema refuses, naming each field."""
    ratelimit.count_refused(request)
    fields: dict[str, list[str]] = {}
    for problem in error.errors:
        # loc is ("body", parameter, field, …) for a body and ("query", field) for a query.
        source, *path = map(str, problem["loc"])
        name = ".".join(path[1:] if source == "body" else path) or source
        fields.setdefault(name, []).append(sentence_about(problem))
    return invalid(fields).response()


def invalid(fields: Mapping[str, list[str]]) -> ApiError:
    """Return the error about these fields, as many as a response may have."""
    few = dict(islice(fields.items(), MAX_FIELDS))
    name, problems = next(iter(few.items()))
    return ApiError(f"{name}: {problems[0]}", fields=few)


def sentence_about(problem: dict[str, Any]) -> str:
    """Return Pydantic's message, or a better one."""
    match problem:
        case {"type": "model_type" | "model_attributes_type"}:  # its own message names our class
            return "This must be a JSON object."
        case {"type": "too_long", "ctx": {"field_type": "Value", "max_length": length}}:
            return f"This must have at most {length} characters."
        case {"type": "too_short", "ctx": {"field_type": "List", "min_length": 1}}:
            return "This must not be empty."
    return str(problem["msg"])


def handle_invalid_model(request: HttpRequest, error: DjangoValidationError) -> HttpResponse:
    """Return the response to what a model's validation refuses."""
    return invalid(error.message_dict).response()


def handle_database_error(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    """Return 503 while the database cannot serve; raise other errors again."""
    reason = outage(error)
    if reason is None:
        raise error
    logger.exception("The database %s", reason)
    return Unavailable().response()


def reraise(request: HttpRequest, error: Exception) -> HttpResponse:
    """Leave the crash to Django, which logs it; the middleware `JsonErrors` renders it."""
    raise error

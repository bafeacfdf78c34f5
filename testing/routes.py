"""Every call of the API, as its OpenAPI document lists them."""

from functools import cache
from typing import NamedTuple

import pytest

from llama_chatbot.api import api

VALUES = {
    "thread_id": "1",
    "message_id": "1",
    "session_id": "1",
    "token_id": "1",
    "username": "nobody",
}


class Route(NamedTuple):
    """One call: its method, a path that can be called, and whether it reads a body."""

    method: str
    path: str
    has_body: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@cache
def routes() -> list[Route]:
    """Return all calls but those for health, ids and names in their paths replaced by some."""
    return [
        Route(method.upper(), path.format(**VALUES), "requestBody" in operation)
        for path, operations in api.get_openapi_schema()["paths"].items()
        for method, operation in operations.items()
        if not path.startswith("/health/")
    ]


every_route = pytest.mark.parametrize("route", routes(), ids=str)
"""Runs a test once for each of them."""

"""What the OpenAPI document says about a call beyond its fields: errors, headers, streams.

Views say it by `describe`; `Document` adds it, and what is true of all calls, to what Ninja knows.
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from pydantic import TypeAdapter

from core.errors import (
    ApiError,
    CrossOrigin,
    HeadersTooLarge,
    InvalidJson,
    NotFound,
    RequestTimeout,
    ServerError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)

REFERENCE = "#/components/schemas/{model}"

Error = type[ApiError]
Schema = dict[str, Any]
Security = list[dict[str, list[str]]]

ANY_CALL: tuple[Error, ...] = (ApiError, HeadersTooLarge, ServerError, Unavailable)
CALL_THAT_CHANGES: tuple[Error, ...] = (
    CrossOrigin,
    InvalidJson,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)


class Header(NamedTuple):
    """A header of a request or a response."""

    name: str
    description: str
    schema: Schema


RATE_LIMIT_HEADERS = (
    Header("RateLimit-Limit", "How many calls there may be.", {"type": "integer"}),
    Header("RateLimit-Remaining", "How many of them are left.", {"type": "integer"}),
    Header("RateLimit-Reset", "Seconds until there are as many again.", {"type": "integer"}),
)
REFUSED_UNCOUNTED = (  # before anybody knows whose call it is
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
RETRY_AFTER = Header("Retry-After", "Seconds to wait.", {"type": "integer"})


class Way(NamedTuple):
    """How a caller may authenticate for a call, and what comes of it if they do not."""

    security: Security
    errors: tuple[Error, ...]


class Description(NamedTuple):
    """What is said of one view.

    `content` has the type of each media type in which the view streams; `no_content` says when it
    answers 204.
    """

    errors: tuple[Error, ...] = ()
    request_headers: tuple[Header, ...] = ()
    response_headers: tuple[Header, ...] = ()
    content: Mapping[str, Any] = {}
    no_content: str = ""

    def plus(self, other: "Description") -> "Description":
        """Return both together."""
        return Description(
            self.errors + other.errors,
            self.request_headers + other.request_headers,
            self.response_headers + other.response_headers,
            {**self.content, **other.content},
            self.no_content + other.no_content,
        )


def describe(
    *errors: Error,
    request_headers: tuple[Header, ...] = (),
    response_headers: tuple[Header, ...] = (),
    content: Mapping[str, Any] | None = None,
    no_content: str = "",
) -> Callable[..., Any]:
    """Decorate a view, below its route: say what else it takes and answers."""
    this = Description(errors, request_headers, response_headers, content or {}, no_content)

    def decorate(view: Any) -> Any:
        view.description = description_of(view).plus(this)
        return view

    return decorate


def description_of(view: Any) -> Description:
    """Return what has been said of a view."""
    description: Description = getattr(view, "description", Description())
    return description


class Document(OpenAPISchema):
    """Ninja's document of an API, made complete.

    `ways` says for each of the API's `auth` functions how a caller may authenticate, and `schemes`
    what that means.
    """

    def __init__(
        self,
        api: NinjaAPI,
        path_prefix: str,
        ways: Mapping[Callable[..., Any], Way],
        schemes: Mapping[str, Schema],
    ) -> None:
        self.ways = ways
        super().__init__(api, path_prefix)
        self["components"]["securitySchemes"] = dict(schemes)
        remove_titles(self["paths"])
        remove_titles(self["components"])

    def methods(self, operations: list[Operation]) -> dict[str, Any]:
        """Return the calls of one path, each with an id of its own."""
        calls = {}
        for operation in operations:
            first, *others = map(str.lower, operation.methods)
            call = calls[first] = self.operation_details(operation)
            call["security"] = self.operation_security(operation)
            for method in others:
                calls[method] = {**call, "operationId": f"{call['operationId']}_{method}"}
        return calls

    def operation_parameters(self, operation: Operation) -> list[dict[str, Any]]:
        """Return the parameters in the path, the query and the headers."""
        headers = description_of(operation.view_func).request_headers
        return [
            *super().operation_parameters(operation),
            *({"in": "header", "required": False, **header._asdict()} for header in headers),
        ]

    def operation_security(self, operation: Operation) -> Security:
        """Return how a caller may authenticate: an empty list where nobody needs to."""
        ways = (self.ways[auth] for auth in operation.auth_callbacks)
        return [requirement for way in ways for requirement in way.security]

    def request_body(self, operation: Operation) -> dict[str, Any]:
        """Return the body, without the default that Ninja sees in one that may be left out."""
        body: dict[str, Any] = super().request_body(operation)
        for content in body.get("content", {}).values():
            content["schema"].pop("default", None)
        return body

    def responses(self, operation: Operation) -> dict[int, dict[str, Any]]:
        """Return every response that can come."""
        said = description_of(operation.view_func)
        responses: dict[int, dict[str, Any]] = super().responses(operation)
        for status, response in responses.items():
            if said.content and status == HTTPStatus.OK:
                response["content"] = {
                    name: {"schema": self.schema_of(kind)} for name, kind in said.content.items()
                }
            response["headers"] = headers_of(said.response_headers)
        if said.no_content:
            responses[204] = {"description": said.no_content}
        by_status: dict[int, set[str]] = {}
        for error in self.errors(operation):
            by_status.setdefault(error.status, set()).add(error.code)
        counts = tuple(header for header in said.response_headers if header in RATE_LIMIT_HEADERS)
        for status, codes in sorted(by_status.items()):
            headers = () if status in REFUSED_UNCOUNTED else counts
            responses.setdefault(status, self.error_response(status, codes, headers))
        return responses

    def errors(self, operation: Operation) -> set[Error]:
        """Return the errors in which a call can end."""
        errors = {*ANY_CALL, *description_of(operation.view_func).errors}
        for auth in operation.auth_callbacks:
            errors.update(self.ways[auth].errors)
        if not {"GET", "HEAD"}.issuperset(operation.methods):
            errors.update(CALL_THAT_CHANGES)
        if any(model.__ninja_param_source__ == "path" for model in operation.models):
            errors.add(NotFound)
        return errors

    def error_response(
        self, status: int, codes: Iterable[str], headers: tuple[Header, ...]
    ) -> dict[str, Any]:
        """Return the response with one of these errors and with these headers."""
        reference = {"$ref": REFERENCE.format(model=self.error_schema(status, sorted(codes)))}
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers = (*headers, RETRY_AFTER)
        return {
            "description": HTTPStatus(status).phrase,
            "content": {self.api.renderer.media_type: {"schema": reference}},
            **({"headers": headers_of(headers)} if headers else {}),
        }

    def error_schema(self, status: int, codes: list[str]) -> str:
        """Have a schema of an error with one of these codes; return its name."""
        words = "Or".join(code.title().replace("_", "") for code in codes)
        name = f"{words.removesuffix('Error')}Error"
        fields: Schema = {"type": "object", "additionalProperties": STRINGS}
        self.schemas[name] = {
            "type": "object",
            "required": ["error", "code"],
            "properties": {
                "error": {"type": "string", "description": "One sentence for a person."},
                "code": {"type": "string", "enum": codes},
                **({"fields": fields} if status == HTTPStatus.BAD_REQUEST else {}),
            },
        }
        return name

    def schema_of(self, kind: Any) -> Schema:
        """Return the schema of a type, whose parts become schemas of the document."""
        schema = TypeAdapter(kind).json_schema(ref_template=REFERENCE, mode="serialization")
        self.add_schema_definitions(schema.pop("$defs", {}))
        return schema


STRINGS: Schema = {"type": "array", "items": {"type": "string"}}


def headers_of(headers: Iterable[Header]) -> dict[str, Any]:
    """Return headers as a response has them."""
    return {name: {"description": text, "schema": schema} for name, text, schema in headers}


def remove_titles(part: Any) -> None:
    """Remove the titles that pydantic makes of names, which say nothing more than these."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for inner in part.values():
            remove_titles(inner)
    elif isinstance(part, list):
        for inner in part:
            remove_titles(inner)

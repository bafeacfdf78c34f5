"""The format that a reply may be made to have: JSON, or JSON that matches a schema."""

from typing import Annotated, Any, Literal, NoReturn

import jsonschema_rs
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError, from_json, to_json

MAX_BYTES = 64 * 1024  # of a schema

Format = Literal["json"] | dict[str, Any]


def is_valid(format: Format, text: str) -> bool:
    """Return whether a text is JSON, and matches the schema if `format` is one."""
    try:
        value = from_json(text, allow_inf_nan=False)
        return format == "json" or validator(format).is_valid(value)
    except (ValueError, jsonschema_rs.ValidationError):
        return False


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return a validator for a schema.

    Raises `ValueError` and `ValidationError` if it is not a schema. A schema cannot make the server
    call others, nor take long over a pattern: the engine that is chosen here matches each in linear
    time.
    """
    return jsonschema_rs.Draft202012Validator(
        schema, retriever=refuse, pattern_options=jsonschema_rs.RegexOptions()
    )


def refuse(address: str) -> NoReturn:
    """Refuse to fetch a schema that another refers to."""
    raise ValueError("a schema may only refer to its own parts")


def checked(format: Format) -> Format:
    """Return the format as it is. Raises `PydanticCustomError` if it is too large or no schema."""
    if format == "json":
        return format
    if len(to_json(format)) > MAX_BYTES:
        raise PydanticCustomError("too_large", "A schema has at most 64 KiB.")
    try:
        validator(format)
    except (ValueError, jsonschema_rs.ValidationError):
        raise PydanticCustomError("no_schema", "This is not a valid JSON schema.") from None
    return format


def known(format: object) -> object:
    """Return the format as it is. Raises `PydanticCustomError` if it is no kind of one."""
    if format == "json" or isinstance(format, dict):
        return format
    raise PydanticCustomError("no_format", 'This must be "json" or a JSON schema.')


CheckedFormat = Annotated[Format, BeforeValidator(known), AfterValidator(checked)]

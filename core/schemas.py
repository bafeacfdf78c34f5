"""Base classes and field types of the request and response schemas."""

from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from core.errors import MAX_FIELDS


def without_nul(text: str) -> str:
    """Reject NUL, the one character that PostgreSQL cannot store."""
    if "\0" in text:
        raise PydanticCustomError("nul", "The character NUL is not allowed.")
    return text


def not_blank(text: str) -> str:
    """Reject text that is nothing but whitespace."""
    if not text.strip():
        raise PydanticCustomError("blank", "This must not be blank.")
    return text


def integral(number: object) -> object:
    """Take 1.0 as 1: JSON knows one kind of number, and so does JSON Schema."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


# The patterns say in the OpenAPI document what the validators refuse.
Text = Annotated[
    str, AfterValidator(without_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})
]
NotBlank = Annotated[
    Text,
    AfterValidator(not_blank),
    Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}),
]
Integral = BeforeValidator(integral)  # after the limits of an int


class Answer(BaseModel):
    """A response, or an item of one, that pydantic reads straight from a model's attributes.

    Ninja's own Schema reads each of them through Python, which takes ten times as long: noticeable
    in a list.
    """

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """A request body: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def drop_most_unknown_fields(cls, body: Any) -> Any:
        """Keep a few of the unknown fields, since pydantic describes each one."""
        if not isinstance(body, dict) or len(body) <= MAX_FIELDS:
            return body
        unknown = islice((name for name in body if name not in cls.model_fields), MAX_FIELDS)
        return {name: body[name] for name in (*(body.keys() & cls.model_fields), *unknown)}

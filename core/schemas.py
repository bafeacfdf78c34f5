"""What every request body has in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


def without_nul(text: str) -> str:
    """Refuse the one character that PostgreSQL cannot store."""
    if "\0" in text:
        raise PydanticCustomError("nul", "The character NUL is not allowed.")
    return text


def not_blank(text: str) -> str:
    """Refuse a text of nothing but white space."""
    if not text.strip():
        raise PydanticCustomError("blank", "This must not be blank.")
    return text


Text = Annotated[str, AfterValidator(without_nul)]
NotBlank = Annotated[Text, AfterValidator(not_blank)]


class Answer(BaseModel):
    """What a list has many of: read off the model's attributes by pydantic itself.

    Ninja's own Schema asks for each through Python, which takes ten times as long.
    """

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """A request body: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

"""The request bodies of Ollama's API, as far as this server supports them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Body(BaseModel):
    """Strict about types; ignores unknown fields, as Ollama does."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Message(Body):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: list[str] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _null_is_empty(cls, content: Any) -> Any:
        return "" if content is None else content


class Options(Body):
    """Sampling options, with Ollama's defaults; null means the default."""

    num_ctx: int = 0
    # Ollama sets no limit by default; this model could then go on for minutes.
    num_predict: int = 512
    temperature: float = 0.8
    seed: int = -1
    stop: list[str] = Field(default_factory=list)
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    repeat_penalty: float = Field(default=1.0, gt=0)

    @field_validator("num_ctx", "num_predict", "top_k")
    @classmethod
    def _fits_an_int(cls, number: int) -> int:
        return max(-1, min(number, 2**31 - 1))


class ModelRequest(Body):
    """Asks about a model: the body of ``/api/show`` and ``/api/pull``."""

    model: str = ""
    name: str = ""
    stream: bool = True

    @property
    def model_name(self) -> str:
        """The model's name; old clients call the field ``name``."""
        return self.model or self.name


class ChatRequest(Body):
    """Asks for a reply: the body of ``/api/chat``."""

    model: str = ""
    messages: list[Message] = Field(default_factory=list)
    stream: bool = True
    options: Options = Field(default_factory=Options)
    truncate: bool = True
    tools: list[Any] | None = None
    think: bool | str | None = None
    format: Any = None

    @field_validator("options", mode="before")
    @classmethod
    def _without_nulls(cls, options: Any) -> Any:
        if isinstance(options, dict):
            return {name: value for name, value in options.items() if value is not None}
        return {} if options is None else options

    @field_validator("messages", mode="before")
    @classmethod
    def _null_is_none_given(cls, messages: Any) -> Any:
        return [] if messages is None else messages

    @property
    def unsupported_feature(self) -> str | None:
        """The first feature of the request that the bundled model does not have, if any."""
        requested = {
            "tools": self.tools,
            "thinking": self.think,
            "structured output": self.format,
            "images": any(message.images for message in self.messages),
        }
        return next((feature for feature, is_requested in requested.items() if is_requested), None)

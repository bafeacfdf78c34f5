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


class WritingRequest(Body):
    """Asks the model to write: what the bodies of ``/api/chat`` and ``/api/generate`` share."""

    model: str = ""
    stream: bool = True
    options: Options = Field(default_factory=Options)
    truncate: bool = True
    think: bool | str | None = None
    format: Any = None

    @field_validator("options", mode="before")
    @classmethod
    def _without_nulls(cls, options: Any) -> Any:
        if isinstance(options, dict):
            return {name: value for name, value in options.items() if value is not None}
        return {} if options is None else options

    def unsupported_feature(self) -> str | None:
        """Return the first feature asked for that the bundled model does not have, if any."""
        asked = {"thinking": self.think, "structured output": self.format}
        return next((feature for feature, is_asked in asked.items() if is_asked), None)


class ChatRequest(WritingRequest):
    """Asks for a reply to messages: the body of ``/api/chat``."""

    messages: list[Message] = Field(default_factory=list)
    render_only: bool = Field(default=False, alias="_debug_render_only")
    tools: list[Any] | None = None

    @field_validator("messages", mode="before")
    @classmethod
    def _null_is_none_given(cls, messages: Any) -> Any:
        return [] if messages is None else messages

    def unsupported_feature(self) -> str | None:
        """Return the first feature asked for that the bundled model does not have, if any."""
        if self.tools:
            return "tools"
        if any(message.images for message in self.messages):
            return "images"
        return super().unsupported_feature()


class GenerateRequest(WritingRequest):
    """Asks for what follows a text: the body of ``/api/generate``.

    The text is a prompt as it is (``raw``), or what a user says.
    """

    prompt: str = ""
    system: str = ""
    suffix: str = ""
    raw: bool = False
    images: list[str] | None = None

    def unsupported_feature(self) -> str | None:
        """Return the first feature asked for that the bundled model does not have, if any."""
        if self.suffix:
            return "insert"
        return "images" if self.images else super().unsupported_feature()

    @property
    def messages(self) -> list[Message]:
        """The prompt as messages."""
        messages = [
            Message(role="system", content=self.system),
            Message(role="user", content=self.prompt),
        ]
        return [message for message in messages if message.content]

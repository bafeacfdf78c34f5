"""The bodies that OpenAI's clients send, as far as they are offered.

What only has one meaning here may be sent with it (`n: 1`), and what would change nothing (`user`)
with any.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from chat.formats import CheckedFormat, Format
from core.schemas import Body, Integral, NotBlank, Text

Nothing = Annotated[list[Any], Field(max_length=0)] | None
Zero = Annotated[float, Field(ge=0, le=0)] | None
Ignored = Any
Name = Annotated[NotBlank, Field(max_length=200)]
Tokens = Annotated[int, Field(ge=1, lt=2**31), Integral]
Stop = Annotated[Text, Field(min_length=1, max_length=100)]


class Sampling(Body):
    """What both ways to ask have in common."""

    model: Name
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None

    tools: Nothing = None
    tool_choice: Literal["auto", "none"] | None = None
    parallel_tool_calls: Ignored = None
    metadata: Ignored = None
    prompt_cache_key: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    user: Ignored = None


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class TextPart(Body):
    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: Ignored = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class NamedSchema(Body):
    """A JSON schema to which the answer has to keep."""

    name: Name
    json_schema: Annotated[CheckedFormat, Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class PlainFormat(Body):
    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatCompletionBody(Sampling):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), Integral] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=8)] | None = None
    response_format: PlainFormat | SchemaFormat | None = None

    n: Literal[1] | None = None
    store: Literal[False] | None = None
    logprobs: Literal[False] | None = None
    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    modalities: list[Literal["text"]] | None = None
    functions: Nothing = None

    def options(self) -> dict[str, Any]:
        """Return Ollama's options."""
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop or None,
            "num_predict": self.max_completion_tokens or self.max_tokens,
        }
        return {name: value for name, value in options.items() if value is not None}

    def format(self) -> Format | None:
        """Return Ollama's `format`."""
        match self.response_format:
            case SchemaFormat(json_schema=named):
                return named.json_schema
            case PlainFormat(type="json_object"):
                return "json"
        return None

"""The bodies that OpenAI's clients send, with the fields that this server supports.

What only has one meaning here may be sent with it (`n: 1`), and what would change nothing (`user`)
with any.
"""

from typing import Annotated, Any, Literal

from ninja import Schema
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
    content: Text | Annotated[list[TextPart], Field(fail_fast=True)]
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

    model: Name
    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
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
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
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


class ContentPart(Body):
    """A part of an input or of an output that is sent back."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    annotations: Ignored = None
    logprobs: Ignored = None


class InputMessage(Body):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[ContentPart], Field(fail_fast=True)]
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ReasoningItem(Body):
    """What the model thought before, sent back; it does not see it again."""

    type: Literal["reasoning"]
    id: Ignored = None
    summary: Ignored = None
    content: Ignored = None
    encrypted_content: Ignored = None
    status: Ignored = None


class ResponseSchemaFormat(Body):
    type: Literal["json_schema"]
    name: Name
    json_schema: Annotated[CheckedFormat, Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class TextSettings(Body):
    format: PlainFormat | ResponseSchemaFormat | None = None
    verbosity: Ignored = None


class Conversation(Body):
    id: Text


class ResponseBody(Sampling):
    """The body of `POST /v1/responses`."""

    model: Name | None = None  # where a thread has one
    input: (
        NotBlank
        | Annotated[list[InputMessage | ReasoningItem], Field(min_length=1, fail_fast=True)]
    )
    instructions: Annotated[Text, Field(max_length=20_000)] | None = None
    previous_response_id: Text | None = None
    conversation: Text | Conversation | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: Tokens | None = None
    text: TextSettings | None = None

    include: Ignored = None
    reasoning: None = None
    stream_options: Ignored = None
    truncation: Literal["disabled", "auto"] | None = None
    top_logprobs: Literal[0] | None = None

    @property
    def messages(self) -> list[InputMessage]:
        """The messages of the input."""
        if isinstance(self.input, str):
            return [InputMessage(role="user", content=self.input)]
        return [item for item in self.input if isinstance(item, InputMessage)]

    @property
    def is_stored(self) -> bool:
        """Whether a thread keeps the response.

        Without a word of it, one to a conversation that the client brings is not: a thread has only
        what its model has said.
        """
        if self.store is not None or self.previous_response_id or self.conversation:
            return self.store is not False
        return bool(self.background) or all(m.role != "assistant" for m in self.messages)

    def options(self) -> dict[str, Any] | None:
        """Return Ollama's options, None where none are chosen."""
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "num_predict": self.max_output_tokens,
        }
        return {name: value for name, value in options.items() if value is not None} or None

    def format(self) -> Format | None:
        """Return Ollama's `format`."""
        match self.text and self.text.format:
            case ResponseSchemaFormat(json_schema=schema):
                return schema
            case PlainFormat(type="json_object"):
                return "json"
        return None


class Following(Schema):
    """How a response is read."""

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0, lt=2**53)] | None = None

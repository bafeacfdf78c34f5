"""The bodies that OpenAI's clients send, with the fields that this server supports.

What only has one meaning here may be sent with it (`n: 1`), and what would change nothing (`user`)
with any. What this server does not offer (`tools`) may be sent empty.
"""

from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from chat import formats
from chat.formats import Format
from core.errors import ApiError
from core.schemas import Body, Integral, NotBlank, Text, not_blank


def refuse(value: object) -> None:
    """Refuse what is not offered, unless it asks for nothing: `{"effort": null}`."""
    if any(value.values()) if isinstance(value, dict) else value:
        raise PydanticCustomError("not_offered", "This is not offered.")


NotOffered = Annotated[None, BeforeValidator(refuse)]
Ignored = Any
Name = Annotated[NotBlank, Field(max_length=200)]
Tokens = Annotated[int, Field(ge=1, lt=2**31), Integral]
Stop = Annotated[Text, Field(min_length=1, max_length=100)]
JsonSchema = Annotated[dict[str, Any], AfterValidator(formats.checked)]
FormatType = Literal["text", "json_object", "json_schema"]


class Sampling(Body):
    """What both ways to ask have in common."""

    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None

    tools: NotOffered = None
    tool_choice: Literal["auto", "none"] | None = None
    top_logprobs: NotOffered = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    user: Ignored = None


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class Part(Body):
    """A part of a message: of one that is sent, or of an answer that is sent back."""

    type: Literal["text", "input_text", "output_text"]
    text: Text
    annotations: Ignored = None
    logprobs: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def refuse_others(cls, part: object) -> object:
        """Refuse a part that is no text, whatever its fields."""
        if isinstance(part, dict) and not str(part.get("type")).endswith("text"):
            problem = "Only text is offered: no images, audio or files."
            raise PydanticCustomError("not_offered", problem)
        return part


def as_parts(content: object) -> object:
    """Return a content as a list of parts, if it is a text."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], Field(fail_fast=True), BeforeValidator(as_parts)]

    @property
    def text(self) -> str:
        """The content as one text."""
        return "".join(part.text for part in self.content)


class ChatMessage(Message):
    """A message of a conversation that the client keeps."""

    name: Ignored = None
    audio: NotOffered = None
    function_call: NotOffered = None
    tool_calls: NotOffered = None

    @model_validator(mode="before")
    @classmethod
    def ignore_what_an_answer_carries(cls, message: object) -> object:
        """Leave out what clients find or put beside an answer's text, and send back with it."""
        if not isinstance(message, dict) or message.get("role") != "assistant":
            return message
        known = {name: value for name, value in message.items() if name in cls.model_fields}
        return {**known, "content": known.get("content") or ""}


class NamedSchema(Body):
    """A JSON schema to which the answer has to keep."""

    name: Name
    json_schema: Annotated[JsonSchema, Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class ChatFormat(Body):
    type: FormatType
    json_schema: NamedSchema | None = None


def as_list(stop: object) -> object:
    """Return what ends an answer as a list, if it is one text."""
    return [stop] if isinstance(stop, str) else stop


class ChatCompletionBody(Sampling):
    """The body of `POST /v1/chat/completions`."""

    model: Name
    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), Integral] | None = None
    stop: Annotated[list[Stop], Field(max_length=8), BeforeValidator(as_list)] | None = None
    response_format: ChatFormat | None = None

    n: Literal[1] | None = None
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    metadata: Ignored = None  # OpenAI keeps it with what is stored
    audio: NotOffered = None
    frequency_penalty: NotOffered = None
    function_call: NotOffered = None
    functions: NotOffered = None
    logit_bias: NotOffered = None
    logprobs: NotOffered = None
    prediction: NotOffered = None
    presence_penalty: NotOffered = None
    reasoning_effort: NotOffered = None
    store: NotOffered = None
    web_search_options: NotOffered = None

    def options(self) -> dict[str, Any]:
        """Return Ollama's options."""
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": self.stop or None,
            "num_predict": self.max_completion_tokens or self.max_tokens,
        }
        return {name: value for name, value in options.items() if value is not None}

    def format(self) -> Format | None:
        """Return Ollama's `format`. Raises `ApiError` where the schema is missing."""
        chosen = self.response_format
        if chosen is None:
            return None
        schema = chosen.json_schema.json_schema if chosen.json_schema else None
        return to_format("response_format", chosen.type, schema)


def to_format(field: str, type: FormatType, schema: dict[str, Any] | None) -> Format | None:
    """Return Ollama's `format` for one of OpenAI's, which is the field `field` of a body.

    Raises `ApiError` where a schema is missing.
    """
    if type == "json_schema" and schema is None:
        raise ApiError(fields={field: ["A format of the type json_schema has a schema."]})
    return {"text": None, "json_object": "json", "json_schema": schema}[type]


class InputMessage(Message):
    type: Literal["message"] = "message"
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None

    @property
    def is_instruction(self) -> bool:
        """Whether it is for the whole conversation."""
        return self.role in ("system", "developer")


class ReasoningItem(Body):
    """What the model thought before, sent back; it does not see it again."""

    type: Literal["reasoning"]
    id: Ignored = None
    summary: Ignored = None
    content: Ignored = None
    encrypted_content: Ignored = None
    status: Ignored = None


class ItemReference(Body):
    """What the model said before, named instead of sent back."""

    type: Literal["item_reference"]
    id: Text


Item = InputMessage | ReasoningItem | ItemReference
ITEMS: dict[object, type[Item]] = {
    "message": InputMessage,
    "reasoning": ReasoningItem,
    "item_reference": ItemReference,
}


def to_item(item: object) -> object:
    """Return an item of an input by its type."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in ITEMS:
        raise PydanticCustomError("not_offered", "Only messages are offered: no calls of tools.")
    return ITEMS[kind].model_validate(item)


def as_items(given: object) -> object:
    """Return an input as a list of items, if it is a text."""
    return [{"role": "user", "content": not_blank(given)}] if isinstance(given, str) else given


class ResponseFormat(Body):
    type: FormatType
    name: Name | None = None
    json_schema: Annotated[JsonSchema | None, Field(alias="schema")] = None
    description: Ignored = None
    strict: Ignored = None


class TextSettings(Body):
    format: ResponseFormat | None = None
    verbosity: Ignored = None


class Conversation(Body):
    id: Text


def as_conversation(named: object) -> object:
    """Return a conversation as an object, if it is its id alone."""
    return {"id": named} if isinstance(named, str) else named


class ResponseBody(Sampling):
    """The body of `POST /v1/responses`."""

    model: Name | None = None  # where a thread has one
    input: Annotated[
        list[Annotated[Item, BeforeValidator(to_item)]],
        Field(min_length=1, fail_fast=True),
        BeforeValidator(as_items),
    ]
    instructions: Annotated[Text, Field(max_length=20_000)] | None = None
    previous_response_id: Text | None = None
    conversation: Annotated[Conversation, BeforeValidator(as_conversation)] | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: Tokens | None = None
    text: TextSettings | None = None

    include: Ignored = None
    stream_options: Ignored = None
    truncation: Literal["disabled", "auto"] | None = None
    max_tool_calls: NotOffered = None
    metadata: NotOffered = None
    prompt: NotOffered = None
    reasoning: NotOffered = None

    @property
    def follows(self) -> str | None:
        """The id of the stored item after which the input goes on."""
        ids = [item.id for item in self.input if isinstance(item, ItemReference)]
        return ids[-1] if ids else None

    @property
    def messages(self) -> list[InputMessage]:
        """The messages of the input, without those before the item that it follows.

        A thread has these. What was said to all of the conversation it has not.
        """
        found: list[InputMessage] = []
        for item in self.input:
            if isinstance(item, ItemReference):
                found = [message for message in found if message.is_instruction]
            elif isinstance(item, InputMessage):
                found.append(item)
        return found

    @property
    def is_stored(self) -> bool:
        """Whether a thread keeps the response.

        Without a word of it, one to a conversation that the client brings is not: a thread has only
        what its model has said.
        """
        follows = self.previous_response_id or self.conversation or self.follows
        if self.store is not None or follows:
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
        """Return Ollama's `format`. Raises `ApiError` where the schema is missing."""
        chosen = self.text and self.text.format
        return to_format("text.format", chosen.type, chosen.json_schema) if chosen else None


class Following(Schema):
    """How a response is read."""

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0, lt=2**53)] | None = None

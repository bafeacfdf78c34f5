"""The events of a stream, as the OpenAPI document has them; a test holds them to the forms."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from chat.replies.forms.sse import EVENT_ID
from chat.schemas import ContextOut, Status, UsageOfReply
from core.openapi import Header


class StartData(BaseModel):
    """The first event: which reply this is, and what the model saw."""

    reply_id: int
    message_id: int | None
    thread_id: int
    model: str
    context: ContextOut | None


class QueuedData(BaseModel):
    """The reply waits for its turn; `position` says how many are ahead of it."""

    position: int


class PieceData(BaseModel):
    """More of the text (event `delta`) or of what the model thinks (event `thinking`)."""

    text: str


class RewindData(BaseModel):
    """The text beyond `offset` is void: another process goes on from there."""

    offset: int


class EndData(BaseModel):
    """The last event of a reply that is complete or was stopped."""

    status: Status
    finish_reason: str | None
    usage: UsageOfReply | None


class ErrorData(BaseModel):
    """The last event of a reply that will not be completed."""

    error: str
    code: str
    fields: dict[str, list[str]] = {}
    reply_kept: bool


class StartLine(StartData):
    type: Literal["start"]


class QueuedLine(QueuedData):
    type: Literal["queued"]


class ThinkingLine(PieceData):
    type: Literal["thinking"]
    offset: int


class DeltaLine(PieceData):
    type: Literal["delta"]
    offset: int


class RewindLine(RewindData):
    type: Literal["rewind"]


class EndLine(EndData):
    type: Literal["end"]


class ErrorLine(ErrorData):
    type: Literal["error"]


EventData = StartData | QueuedData | PieceData | RewindData | EndData | ErrorData
"""The data of a server-sent event."""

EventLine = Annotated[
    StartLine | QueuedLine | ThinkingLine | DeltaLine | RewindLine | EndLine | ErrorLine,
    Field(discriminator="type"),
]
"""A line of NDJSON."""

CONTENT = {
    "text/plain": str,
    "text/event-stream": EventData,
    "application/x-ndjson": EventLine,
    "text/event-stream; profile=ai-sdk": str,  # which the AI SDK's own packages read
}
REPLY_ID = Header("Reply-Id", "The id of the reply.", {"type": "integer"})
THREAD_ID = Header("Thread-Id", "The id of the new thread.", {"type": "integer"})
LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "The id of the last event that came, as EventSource sends it.",
    {"type": "string", "pattern": f"^({EVENT_ID.pattern})?$"},
)

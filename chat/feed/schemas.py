"""The stream of what happens to threads, as the OpenAPI document has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from chat.schemas import Status, ThreadInList
from core.openapi import Header

LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "The id of the last event that came, as EventSource sends it.",
    {"type": "string", "pattern": "^[0-9]{0,18}$"},
)


class NoData(BaseModel):
    """The data of `start` and `reload`."""


class DeletedData(BaseModel):
    """The data of `thread_deleted`."""

    id: int


class StartedData(BaseModel):
    """The data of `reply_started`."""

    thread_id: int
    reply_id: int


class EndedData(StartedData):
    """The data of `reply_ended`."""

    status: Status


class Line(BaseModel):
    event_id: str | None


class StartLine(Line):
    type: Literal["start"]


class ReloadLine(Line):
    type: Literal["reload"]


class ThreadLine(ThreadInList, Line):
    type: Literal["thread"]


class DeletedLine(DeletedData, Line):
    type: Literal["thread_deleted"]


class StartedLine(StartedData, Line):
    type: Literal["reply_started"]


class EndedLine(EndedData, Line):
    type: Literal["reply_ended"]


CONTENT = {
    "text/event-stream": ThreadInList | DeletedData | StartedData | EndedData | NoData,
    "application/x-ndjson": Annotated[
        StartLine | ReloadLine | ThreadLine | DeletedLine | StartedLine | EndedLine,
        Field(discriminator="type"),
    ],
}

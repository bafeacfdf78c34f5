"""The events of a response's stream.

A reader resumes with `starting_after`, the number of the last event that it has. No log of events
is needed for that: a piece of text has the number of its last character, counted from the event
before the first, so that numbers grow but have gaps.
"""

from collections.abc import AsyncIterator

from chat.replies.events import (
    Delta,
    End,
    Event,
    Failure,
    KeepAlive,
    Queued,
    Rewind,
    Start,
    Thinking,
)
from chat.replies.forms.form import Form, to_json
from openai_api import answers
from openai_api.answers import Json

KINDS = {"reasoning": "reasoning_text", "message": "output_text"}  # of the one part of each item


class ResponseEvents(Form):
    """The events of one response, but for those up to the number `after`.

    They are made of the reply from its beginning. What a reader has of a text that another process
    was begun again from an earlier character cannot be taken back: pieces go on where the reader
    is, and the last events have the text as it is.
    """

    content_type = "text/event-stream"

    def __init__(self, response: Json, after: int | None = None) -> None:
        super().__init__(0)
        self._response = response
        self._after = -1 if after is None else after
        self._last = -1  # number that was sent
        self._next = 0
        self._texts = {"reasoning": "", "message": ""}
        self._item = ""  # the key of the one that is being written
        self._index = -1  # its place in the output
        self._base = 0  # the number of the event before its first character
        self._had = 0  # how many characters of it the reader has
        self._delta = ""  # the beginning of all its pieces

    async def encode(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """Return the events, of which the first are sent at once."""
        return self._with_beginning(events)

    async def _with_beginning(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        beginning = answers.begun(self._response)
        first = self._event("response.created", response=beginning)
        if data := first + self._event("response.in_progress", response=beginning):
            yield data
        async for data in self._encode(events):
            yield data

    def start(self, event: Start) -> bytes:
        """Say nothing: what is known then was said at once."""
        return b""

    def queued(self, event: Queued) -> bytes:
        """Return a comment: an event would change the numbers of all that follow."""
        return f": {event.position} before this one in the queue\n\n".encode()

    def thinking(self, event: Thinking) -> bytes:
        """Return a piece of the item `reasoning`."""
        return self._piece("reasoning", event.text)

    def delta(self, event: Delta) -> bytes:
        """Return a piece of the message."""
        return self._piece("message", event.text)

    def rewind(self, event: Rewind) -> bytes:
        """Say nothing until there is more than the reader has."""
        self._texts["message"] = self._texts["message"][: event.offset]
        if not event.offset:
            self._texts["reasoning"] = ""
        return b""

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Return a comment."""
        return b": still here\n\n"

    def end(self, event: End) -> bytes:
        """Return the ends of the message and of the response."""
        opened = b"" if self._item == "message" else self._open("message")
        response = answers.ended(self._response, *self._written, event)
        closed = self._close("completed" if response["status"] == "completed" else "incomplete")
        # OpenAI has no event for one that was cancelled.
        kind = "completed" if response["status"] == "completed" else "incomplete"
        return opened + closed + self._last_event(f"response.{kind}", response)

    def failure(self, event: Failure) -> bytes:
        """Return the event that says why."""
        response = answers.ended(self._response, *self._written, event)
        return self._last_event("response.failed", response)

    @property
    def _written(self) -> tuple[str, str]:
        return self._texts["message"], self._texts["reasoning"]

    def _piece(self, item: str, text: str) -> bytes:
        opened = b""
        if item != self._item and self._item != "message":
            opened = self._open(item)
        begins_at = len(self._texts[item])
        self._texts[item] += text
        if item != self._item:  # it thinks on, but its message has begun
            return opened
        new = text[max(0, self._had - begins_at) :]
        if not new:
            return opened
        self._had = len(self._texts[item])
        self._last = self._base + self._had
        return opened + f'{self._delta}{self._last},"delta":{to_json(new)}}}\n\n'.encode()

    def _open(self, item: str) -> bytes:
        """Return the beginning of an item, after the end of the one before."""
        closed = self._close("completed") if self._item else b""
        self._item, self._index = item, self._index + 1
        described = self._describe([], "in_progress")
        added = self._event("response.output_item.added", item=described)
        added += self._event("response.content_part.added", part=self._part(""), **self._place)
        self._base = self._next - 1
        self._had = max(0, self._after - self._base)
        kind = f"response.{KINDS[item]}.delta"
        fields = to_json({"type": kind, **self._place, "output_index": self._index, "logprobs": []})
        self._delta = f'event: {kind}\ndata: {fields[:-1]},"sequence_number":'
        return closed + added

    def _close(self, status: str) -> bytes:
        """Return the end of the item that is being written."""
        text = self._texts[self._item]
        self._next = self._base + len(text) + 1
        kind = f"response.{KINDS[self._item]}.done"
        part = self._part(text)
        return (
            self._event(kind, text=text, logprobs=[], **self._place)
            + self._event("response.content_part.done", part=part, **self._place)
            + self._event("response.output_item.done", item=self._describe([part], status))
        )

    def _event(self, kind: str, **fields: object) -> bytes:
        """Return an event, or nothing where the reader has it."""
        number = self._next
        self._next += 1
        if number <= self._after:
            return b""
        self._last = max(number, self._last + 1)
        return self._encoded(kind, fields)

    def _last_event(self, kind: str, response: Json) -> bytes:
        """Return the last event, also to a reader of what another process had written beyond it."""
        self._last = max(self._next, self._last + 1, self._after + 1)
        return self._encoded(kind, {"response": response})

    def _encoded(self, kind: str, fields: dict[str, object]) -> bytes:
        place = {} if "response" in fields else {"output_index": self._index}
        data = {"type": kind, "sequence_number": self._last, **place, **fields}
        return f"event: {kind}\ndata: {to_json(data)}\n\n".encode()

    @property
    def _place(self) -> Json:
        return {"item_id": self._describe([], "")["id"], "content_index": 0}

    def _describe(self, content: list[Json], status: str) -> Json:
        make = answers.reasoning_item if self._item == "reasoning" else answers.message_item
        return make(self._response["id"].removeprefix("resp_"), content, status)

    def _part(self, text: str) -> Json:
        if self._item == "message":
            return answers.text_part(text)
        return {"type": "reasoning_text", "text": text}

"""Chat completions, whole and in chunks."""

import time
from typing import Any
from uuid import uuid4

from chat.replies.events import Delta, End, Failure, KeepAlive, Queued, Start, Thinking
from chat.replies.forms.form import to_json
from chat.replies.forms.text import PlainText
from openai_api.errors import to_openai


class ChatCompletionChunks(PlainText):
    """The chunks of one completion.

    They begin with the first token, so an early failure is a real error response.
    """

    content_type = "text/event-stream"

    def __init__(self, model: str, *, include_usage: bool) -> None:
        super().__init__(0)
        self.include_usage = include_usage
        self.fields = {**head(model), "object": "chat.completion.chunk"}
        if include_usage:
            self.fields["usage"] = None
        # All that is the same in each chunk is written once.
        self._before = f'data: {to_json(self.fields)[:-1]},"choices":[{{"index":0,"delta":'
        self._role = {"role": "assistant"}

    def start(self, event: Start) -> bytes:
        """Say nothing: the first chunk has the role."""
        return b""

    def queued(self, event: Queued) -> bytes:
        """Return a comment, which is sent where the chunks have begun."""
        return f": {event.position} before this one in the queue\n\n".encode()

    def thinking(self, event: Thinking) -> bytes:
        """Return a chunk with Ollama's own name for what the model thinks."""
        return self._chunk({"content": "", "reasoning": event.text})

    def delta(self, event: Delta) -> bytes:
        """Return a chunk of the text."""
        return self._chunk({"content": event.text})

    def keep_alive(self, event: KeepAlive) -> bytes:
        """Return a comment."""
        return b": still here\n\n"

    def end(self, event: End) -> bytes:
        """Return the last chunk, and the usage if it was asked for."""
        last = self._chunk({}, event.finish_reason or "stop")
        if self.include_usage:
            told = {**self.fields, "choices": [], "usage": usage_of(event)}
            last += f"data: {to_json(told)}\n\n".encode()
        return last + b"data: [DONE]\n\n"

    def failure(self, event: Failure) -> bytes:
        """Return the error, which the clients raise."""
        error = to_openai(event.error.body(), event.error.status)
        return f"data: {to_json({'error': error})}\n\n".encode()

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        if self._role:
            delta, self._role = {**self._role, **delta}, {}
        return (
            f'{self._before}{to_json(delta)},"finish_reason":{to_json(finish_reason)}}}]}}\n\n'
        ).encode()


def head(model: str) -> dict[str, Any]:
    """Return what all chunks of a completion have in common."""
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}


def usage_of(event: End) -> dict[str, int]:
    """Return what a completion has cost."""
    used = event.usage or {}
    prompt, completion = used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def completion(model: str, text: str, thinking: str, event: End) -> dict[str, Any]:
    """Return a whole completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    if thinking:
        message["reasoning"] = thinking
    reason = event.finish_reason or "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {
        **head(model),
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage_of(event),
    }

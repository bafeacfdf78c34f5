"""Ollama's wire format: the shapes of its answers, and the bytes."""

import hashlib
import socket
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from testing.scripted_ollama.script import ChatSeen, ModelInfo, Script, to_json

MODIFIED_AT = "2025-01-01T00:00:00Z"
CHAT, GENERATE = "/api/chat", "/api/generate"


def full_name(name: str) -> str:
    """Return a model's name with its tag."""
    return name if not name or ":" in name else f"{name}:latest"


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def error(status: int, message: str) -> web.Response:
    """Return an answer that says what went wrong."""
    return web.json_response({"error": message}, status=status)


def too_long(tokens: int, window: int) -> web.Response:
    """Return the refusal of a prompt: the runner's JSON, as a text in Ollama's own."""
    message = f"request ({tokens} tokens) exceeds the available context size ({window} tokens)"
    runners = {
        "code": 400,
        "message": f"{message}, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": window,
    }
    return error(400, to_json({"error": runners}))


def missing(name: str) -> web.Response:
    """Return the answer to a call for a model that is not there."""
    if not name:
        return error(400, "model is required")
    return error(404, f"model '{name}' not found")


async def start_ndjson(request: web.Request) -> web.StreamResponse:
    """Send the headers of an answer of many lines."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    return response


def chunk(data: bytes) -> bytes:
    """Return a chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def entry(name: str, model: ModelInfo) -> dict[str, Any]:
    """Return what /api/tags and /api/ps say alike."""
    return {
        "name": name,
        "model": name,
        "modified_at": MODIFIED_AT,
        "size": model.size,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": model.details(),
    }


def record(chat: ChatSeen, content: str = "", thinking: str = "", **rest: object) -> dict[str, Any]:
    """Return one of the records of an answer."""
    head = {"model": chat.body["model"], "created_at": now()}
    thoughts = {"thinking": thinking} if thinking else {}
    if chat.path == GENERATE:
        return head | {"response": content} | thoughts | {"done": False} | rest
    message = {"role": "assistant", "content": content} | thoughts
    return head | {"message": message, "done": False} | rest


@dataclass
class Durations:
    """How long the parts of an answer took, in seconds, and how much of its prompt was cached."""

    loading: float = 0.0
    writing: float = 0.0
    cached_tokens: int = 0


def last_line(chat: ChatSeen, script: Script, durations: Durations) -> str:
    """Return what follows the tokens; without streaming it is the whole answer."""
    if script.then == "error":
        return f"{to_json({'error': script.error})}\n"
    if script.then == "garbage":
        return "<html>Bad Gateway</html>\n"
    if script.then == "no_done" and chat.streams:
        return ""
    texts = () if chat.streams else ("".join(script.tokens), "".join(script.thinking))
    if script.then == "no_done":
        return f"{to_json(record(chat, *texts))}\n"
    counted = len(script.thinking) + len(script.tokens)
    total = int((time.monotonic() - chat.started) * 1e9)
    loading, writing = int(durations.loading * 1e9), int(durations.writing * 1e9)
    last = record(
        chat,
        *texts,
        done=True,
        done_reason=script.done_reason,
        total_duration=total,
        load_duration=loading,
        prompt_eval_count=script.prompt_tokens,
        prompt_eval_cached_count=durations.cached_tokens,
        prompt_eval_duration=max(0, total - writing - loading),
        eval_count=counted if script.completion_tokens is None else script.completion_tokens,
        eval_duration=writing,
    )
    return f"{to_json(last)}\n"


def cut(request: web.Request, *, reset: bool) -> None:
    """Close the connection under the answer: as the kernel does for a dead process, or by RST."""
    if request.transport is not None:
        if reset:
            linger_none = struct.pack("ii", 1, 0)
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        request.transport.abort()

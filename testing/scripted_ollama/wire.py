"""Ollama's wire format: the shapes of its answers, and the bytes."""

import hashlib
import json
import socket
import struct
import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from testing.scripted_ollama.script import ChatSeen, ModelInfo, Script

MODIFIED_AT = "2025-01-01T00:00:00Z"
LOAD_DURATION = 1_000_000  # nanoseconds

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def full_name(name: str) -> str:
    """Return a model's name with its tag."""
    return name if not name or ":" in name else f"{name}:latest"


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def error(status: int, message: str) -> web.Response:
    """Return an answer that says what went wrong."""
    return web.json_response({"error": message}, status=status)


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


def record(model: str, content: str = "", thinking: str = "", **rest: object) -> dict[str, Any]:
    """Return one of the records that a chat is answered with."""
    message = {"role": "assistant", "content": content}
    if thinking:
        message["thinking"] = thinking
    return {"model": model, "created_at": now(), "message": message, "done": False} | rest


def last_line(chat: ChatSeen, script: Script, began: float, ended: float) -> str:
    """Return what follows the tokens; without streaming it is the whole answer.

    Times are in seconds.
    """
    if script.then == "error":
        return f"{to_json({'error': script.error})}\n"
    if script.then == "garbage":
        return "<html>Bad Gateway</html>\n"
    if script.then == "no_done" and chat.streams:
        return ""
    texts = () if chat.streams else ("".join(script.tokens), "".join(script.thinking))
    if script.then == "no_done":
        return f"{to_json(record(chat.body['model'], *texts))}\n"
    counted = len(script.thinking) + len(script.tokens)
    total = int((time.monotonic() - chat.started) * 1e9)
    writing = int((ended - began) * 1e9)
    last = record(
        chat.body["model"],
        *texts,
        done=True,
        done_reason=script.done_reason,
        total_duration=total,
        load_duration=LOAD_DURATION,
        prompt_eval_count=script.prompt_tokens,
        prompt_eval_duration=max(0, total - writing - LOAD_DURATION),
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

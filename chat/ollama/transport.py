"""Ollama's own client, one for each event loop and host, with the features that it lacks.

Three private parts of it and of httpx are used here and nowhere else; each says what breaks when an
upgrade takes it away, and `tests/test_private_parts.py` then fails with the same words.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast
from weakref import WeakKeyDictionary

import aiohttp
import httpx
import ollama
from django.conf import settings
from httpx_aiohttp import AiohttpTransport


class Client(ollama.AsyncClient):
    """Ollama's own client, with prompts refused that do not fit, `version` and `render`."""

    async def _request(self, *args: Any, **kwargs: Any) -> Any:
        """Have Ollama refuse prompts and end replies that do not fit: by default it cuts them.

        Private part of ollama: `AsyncClient._request`, whose `chat` has no such parameters. Without
        it long prompts are silently cut. Then pass `truncate` and `shift` to `chat`, if it has them
        by now, or post to /api/chat through httpx.
        """
        if "/api/chat" in args or "/api/generate" in args:
            kwargs["json"] |= {"truncate": False, "shift": False}
        return await super()._request(*args, **kwargs)

    async def version(self) -> str:
        """Return Ollama's version.

        Private part of ollama: `AsyncClient._client`, its httpx client. Without it health checks
        fail. Then call a method for /api/version, if there is one by now, or use `ps`.
        """
        response = await self._client.get("/api/version")
        response.raise_for_status()
        return str(response.json()["version"])

    async def render(self, body: dict[str, Any]) -> str | None:
        """Return the prompt that Ollama makes of the body of a chat, without having it answered.

        None where Ollama does not know the field, as before the end of 2025: it has then answered.
        Private part of ollama: as in `version`. Private part of Ollama itself: `_debug_render_only`
        and `_debug_info`. Without them only models whose template leaves the last message open can
        continue a reply. Then use the call for it, if Ollama has one by now.
        """
        asked = {**body, "_debug_render_only": True, "stream": False}
        response = await self._client.post("/api/chat", json=asked)
        if response.is_error:
            raise ollama.ResponseError(response.text, response.status_code)
        info = response.json().get("_debug_info") or {}
        return info.get("rendered_template") or None


async def split_at_newlines(response: httpx.Response) -> None:
    """Split a response into lines at newlines only.

    Private part of httpx: ollama's client reads a stream by `Response.aiter_lines`, replaced here.
    httpx also splits at Unicode's line breaks such as U+0085, in the middle of a text, and its
    layers between the stream and a line take a sixth of the CPU time of relaying a token. Where
    the client reads streams in another way, replace that method instead.
    """

    async def lines() -> AsyncIterator[str]:
        rest = b""
        async for chunk in cast(httpx.AsyncByteStream, response.stream):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode()
        if rest:
            yield rest.decode()

    response.aiter_lines = lines  # type: ignore[method-assign]


# By event loop, then by host.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Client]] = WeakKeyDictionary()


def client(host: str) -> Client:
    """Return the event loop's one client of a host: making one costs 25 ms."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if host not in clients:
        transport = AiohttpTransport(
            # Every running reply holds a connection, so their number is not limited here.
            client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        clients[host] = Client(
            host=host,
            transport=transport,
            timeout=httpx.Timeout(None, connect=settings.OLLAMA_CONNECT_TIMEOUT_SECONDS),
            headers={"Accept-Encoding": "identity"},  # lines are read as they arrive
            event_hooks={"response": [split_at_newlines]},
        )
    return clients[host]


async def close() -> None:
    """Close the event loop's clients, at the end of the process."""
    for opened in _clients.pop(asyncio.get_running_loop(), {}).values():
        await opened.close()  # type: ignore[no-untyped-call]

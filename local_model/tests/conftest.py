"""Real servers in processes of their own, shared by all tests: loading one costs seconds."""

from collections.abc import Iterator

import ollama
import pytest

from testing.processes.bundled_model import Running, serving


@pytest.fixture(scope="session")
def server(bundled_model: None) -> Iterator[Running]:
    """The server that most tests call."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def narrow(bundled_model: None) -> Iterator[Running]:
    """A server that generates one reply at a time."""
    with serving("--slots", "1", "--context", "2048") as running:
        yield running


@pytest.fixture
def client(server: Running) -> ollama.Client:
    """Ollama's own client of the server."""
    return ollama.Client(server.url, timeout=60)

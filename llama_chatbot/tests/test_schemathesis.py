"""Schemathesis calls the API with data generated from its OpenAPI document, valid and not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testing.processes import ROOT, StartServer

CALLS = 2_000
# Valid by the document, and refused for what only the server knows: a model that Ollama lacks, a
# wrong password, a name that is taken, a cursor of another list.
EXPECTED = {"RejectedPositiveData"}


@pytest.mark.parametrize("caller", ["session", "token"])
def test_schemathesis_finds_nothing(start_server: StartServer, tmp_path: Path, caller: str) -> None:
    """By all of its checks; its own output says how to repeat a call that failed."""
    server = start_server()
    report = tmp_path / "report.json"
    arguments = ["run", f"{server.url}/openapi.json", "--checks", "all", "--seed", "1"]
    arguments += ["--max-examples", "40", "--request-timeout", "30", "--no-color"]
    arguments += ["--generation-database", "none"]
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
    assert found["complete"], done.stdout
    assert found["test_cases"]["generated"] >= CALLS
    assert {failure["type"] for failure in found["failures"]} <= EXPECTED, done.stdout
    assert not found["errors"], done.stdout
    assert "Traceback" not in server.log()

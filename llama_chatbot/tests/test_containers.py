"""Dockerfile and compose.yaml fit the project, and are what hadolint and Compose take.

Neither needs an engine; what an engine would do with them is not tested.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from chat.replies.registry import SAVE_SECONDS
from llama_chatbot.tests.test_documented_settings import documented
from testing.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
UNIT = (ROOT / "deploy" / "llama-chatbot@.service").read_text()
SITE = (ROOT / "deploy" / "nginx.conf").read_text()


def number_after(text: str, name: str) -> int:
    """Return the number that follows a name, whatever stands between."""
    (number,) = re.findall(rf"{name}\D{{1,10}}(\d+)", text, re.MULTILINE)
    return int(number)


def test_the_image_has_the_code_of_the_server_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = project["tool"]["importlinter"]["root_packages"]
    included = re.findall("^!(.*)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert set(included) == {*rooms, "clients/javascript", "manage.py", "requirements.txt"}


def test_nobody_is_killed_before_the_server_is_done() -> None:
    graceful = number_after(DOCKERFILE, "timeout-graceful-shutdown")

    assert number_after(UNIT, "timeout-graceful-shutdown") == graceful
    assert number_after(COMPOSE, "^  stop_grace_period") > graceful + SAVE_SECONDS
    assert number_after(UNIT, "TimeoutStopSec") > graceful + SAVE_SECONDS


def test_what_compose_replaces_in_the_site_is_there() -> None:
    replaced = re.findall(r"-e 's([/#])(.*?)\1", COMPOSE)

    assert len(replaced) == COMPOSE.count("-e '")
    for _, pattern in replaced:
        assert re.search(pattern, SITE), pattern


def test_what_compose_sets_are_settings() -> None:
    block = COMPOSE.partition("  environment:\n")[2].partition("\n  restart")[0]
    names = set(re.findall(r"^    ([A-Z_]+):", block, re.MULTILINE))

    assert "DATABASE_URL" in names
    assert names <= set(documented())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with what Compose reads, and the settings of docs/containers.md."""
    page = (ROOT / "docs" / "containers.md").read_text()
    (settings,) = re.findall(r"^```sh\n(SECRET_KEY=.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / ".env").write_text(settings.replace("…", "abc"))
    for name in ("compose.yaml", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def run_tool(name: str, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run a program that requirements-dev.txt installs."""
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run_tool("hadolint", "Dockerfile")

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_compose_resolves_what_the_page_says(project: Path) -> None:
    done = run_tool("docker-compose", "config", "--format", "json", cwd=project)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]

    parts = {"server-1", "server-2", "migrate", "nginx", "postgres", "memcached", "ollama"}
    assert set(services) == parts
    for name in ("server-1", "server-2"):
        server = services[name]
        assert server["environment"]["DATABASE_URL"] == "postgres://llama:abc@postgres/llama"
        assert server["environment"]["SECRET_KEY"] == "abc"
        assert server["stop_grace_period"] == "35s"
        waits_for = {part: each["condition"] for part, each in server["depends_on"].items()}
        assert waits_for == {
            "migrate": "service_completed_successfully",
            "memcached": "service_started",
        }
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    mounts = {each["target"]: each["source"] for each in services["nginx"]["volumes"]}
    assert mounts["/site.conf"] == str(project / "deploy" / "nginx.conf")
    assert mounts["/etc/letsencrypt/live/api.example.com"] == "/srv/certificates"


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "SERVER_NAME", "CERTIFICATES"])
def test_compose_names_a_setting_that_is_missing(project: Path, name: str) -> None:
    settings = (project / ".env").read_text()
    (project / ".env").write_text(re.sub(f"^{name}=.*$", "", settings, flags=re.MULTILINE))

    done = run_tool("docker-compose", "config", cwd=project)

    assert done.returncode != 0
    assert name in done.stderr

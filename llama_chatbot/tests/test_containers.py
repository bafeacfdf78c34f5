"""Dockerfile and compose.yaml fit the project; tools for containers check the rest by hand."""

import re
import tomllib

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

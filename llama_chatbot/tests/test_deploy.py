"""`manage.py check --deploy`, and settings that stop the start."""

import re
import subprocess
import sys

import pytest

from testing.environment import ENVIRONMENT
from testing.processes import ROOT

PRODUCTION = {
    "LLAMA_CHATBOT_ENV_FILE": "",
    "SECRET_KEY": ENVIRONMENT["SECRET_KEY"],
    "ALLOWED_HOSTS": "chat.example.com",
    "FRONTEND_ORIGINS": "https://app.example.com",
    "DATABASE_URL": "sqlite:///:memory:",
    "CACHE_LOCATION": "127.0.0.1:11211",
}


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**PRODUCTION, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def check(**settings: str) -> "subprocess.CompletedProcess[str]":
    return run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **settings)


@pytest.mark.parametrize("settings", [{}, {"COOKIE_SAMESITE": "None"}, {"CACHE_LOCATION": ""}])
def test_production_has_nothing_to_be_warned_of(settings: dict[str, str]) -> None:
    done = check(**settings)

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_the_settings_of_the_page_on_production_pass() -> None:
    page = (ROOT / "docs" / "production.md").read_text()
    (block,) = re.findall(r"^```sh\n((?:#.*\n)?SECRET_KEY=.*?)^```", page, re.DOTALL | re.MULTILINE)
    settings = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)', block, re.MULTILINE))
    assert len(settings) == len(re.findall("^[^#]", block, re.MULTILINE))

    done = check(**{**settings, "SECRET_KEY": PRODUCTION["SECRET_KEY"]})

    assert done.returncode == 0, done.stderr


def test_debug_is_warned_of() -> None:
    assert check(DEBUG="true").returncode != 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COOKIE_SAMESITE", "none"),
        ("EMAIL_URL", "nonsense"),
        ("EMAIL_URL", "smtp://mail.example.com:port"),
        ("PASSWORD_RESET_URL", "https://app.example.com/reset"),
        ("PASSWORD_RESET_URL", "https://app.example.com/reset/{uid}/{key}/"),
        ("PASSWORD_RESET_URL", "https://app.example.com/reset/{uid}/{token"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(name: str, value: str) -> None:
    done = run("-c", "import llama_chatbot.settings", **{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot start, the setting {name} is wrong: ")
    assert done.stderr.count("\n") == 1

"""The settings that docs/settings.md and .env.example show are those of settings.py."""

import ast
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from llama_chatbot.tests.test_settings import BAD
from testing.environment import ENVIRONMENT
from testing.processes import ROOT

READ_BY_UVICORN = {"FORWARDED_ALLOW_IPS"}
ONLY_IN_THE_ENVIRONMENT = {"LLAMA_CHATBOT_ENV_FILE"}  # it names the file that holds the others
WITHOUT_A_DEFAULT_VALUE = {"SECRET_KEY", "CHAT_SYSTEM_PROMPT", "CACHE_BACKEND"}

PRINT_SETTINGS = """
import json, llama_chatbot.settings as settings
values = {name: value for name, value in vars(settings).items() if name.isupper()}
print(json.dumps(values, default=str))
"""


def names_read() -> set[str]:
    """Return the names of the variables that settings.py reads, by its syntax tree."""
    names = set()
    for call in ast.walk(ast.parse((ROOT / "llama_chatbot" / "settings.py").read_text())):
        if isinstance(call, ast.Call):
            function = ast.unparse(call.func)
            texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
            names_in_call = [str(text) for text in texts if re.fullmatch("[A-Z_]+", str(text))]
            if function == "rate":
                names.add(f"RATE_LIMIT_{str(texts[0]).upper()}")
            elif names_in_call and (function == "read" or function.startswith("env.")):
                names.add(names_in_call[0])
    return names


def documented() -> dict[str, str]:
    """Return the default of each setting in the tables of docs/settings.md, as it stands there."""
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| .+ \|$", page, re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a setting is documented twice"
    return dict(rows)


def in_the_example_file() -> dict[str, str]:
    """Return the value of each setting in .env.example, whether it is commented out or not."""
    lines = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)", lines, re.MULTILINE))


def settings_with(**environment: str) -> dict[str, Any]:
    """Return all settings that a process has with this environment and no file."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_SETTINGS],
        cwd=ROOT,
        env={
            "LLAMA_CHATBOT_ENV_FILE": "",
            "SECRET_KEY": ENVIRONMENT["SECRET_KEY"],
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_the_names_of_all_settings_are_found() -> None:
    names = names_read()

    assert {"DEBUG", "DATABASE_URL", "RATE_LIMIT_CHAT", "CHAT_TITLES"} <= names
    assert {name for name, _ in BAD} - names == set()


def test_docs_settings_md_has_every_setting_and_no_other() -> None:
    assert set(documented()) == names_read() | READ_BY_UVICORN


def test_the_example_file_has_every_setting_and_no_other() -> None:
    expected = (names_read() | READ_BY_UVICORN) - ONLY_IN_THE_ENVIRONMENT

    assert set(in_the_example_file()) == expected


@pytest.mark.parametrize("name", sorted(set(in_the_example_file()) - WITHOUT_A_DEFAULT_VALUE))
def test_both_show_the_same_default(name: str) -> None:
    value = in_the_example_file()[name]

    assert documented()[name].startswith(f"`{value}`" if value else "empty")


def test_the_defaults_they_show_are_those_of_the_server() -> None:
    shown = {
        name: value
        for name, value in in_the_example_file().items()
        if name not in WITHOUT_A_DEFAULT_VALUE
    }
    shown["DATABASE_URL"] = shown["DATABASE_URL"].replace("///", f"///{ROOT}/")

    assert settings_with(**shown) == settings_with()


def test_the_example_file_can_be_used_as_it_is() -> None:
    settings_with(LLAMA_CHATBOT_ENV_FILE=str(ROOT / ".env.example"))

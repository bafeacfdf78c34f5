"""`manage.py importchats` imports a file into an account."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat.tests.exports import chatgpt_chat, file_of
from testing.people import create_user
from testing.processes import ROOT


def chat(number: int, words: str = "In the Andes.") -> dict[str, Any]:
    """One of many conversations."""
    conversation = {**chatgpt_chat(), "id": str(number), "conversation_id": str(number)}
    conversation["mapping"]["a1"]["message"]["content"]["parts"] = [words]
    return conversation


def run_command(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", "importchats", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_imports_into_an_account(
    server_environment: dict[str, str], database: None, tmp_path: Path
) -> None:
    ann = create_user("ann")
    file = tmp_path / "conversations.json"
    file.write_bytes(file_of(chat(1), chat(2), {"title": "A recipe"}))

    for name, report in (
        ("ann", "2 threads with 8 messages were imported; 0 were there already, 1 were left out."),
        ("ann@example.com", "0 threads with 0 messages were imported; 2 were there already"),
    ):
        done = run_command(server_environment, name, str(file))
        assert done.returncode == 0, done.stderr
        assert report in done.stdout
        assert "Left out: A recipe: It is of no format" in done.stdout

    assert ann.threads.count() == 2


@pytest.mark.parametrize(
    ("user", "content", "message"),
    [
        ("nobody", b"[]", "There is no account nobody."),
        ("ann", None, "The file cannot be read"),
        ("ann", b"hello", "The file is not valid JSON"),
    ],
)
def test_the_command_says_what_is_wrong(
    server_environment: dict[str, str],
    database: None,
    tmp_path: Path,
    user: str,
    content: bytes | None,
    message: str,
) -> None:
    create_user("ann")
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)

    done = run_command(server_environment, user, str(file))

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

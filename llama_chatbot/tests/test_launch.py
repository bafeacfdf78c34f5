"""`make run`: what it refuses, installs, writes and starts, and that it ends all that it started.

The first half runs in small copies of the repository, which hold the launcher and nothing else;
the second half launches the project itself, from the .venv that runs the tests.
"""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from llama_chatbot.launch import bootstrap as launcher
from testing.processes import INHERITED, ROOT, Memcached, free_port
from testing.scripted_ollama import ScriptedOllama
from testing.waiting import wait_until

NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def environment(env: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **NO_NETWORK, **env}


# --- A fresh clone ------------------------------------------------------------------------------


@pytest.fixture
def new_clone(tmp_path: Path) -> Callable[[], Path]:
    """A function that makes a clone: the launcher, and requirements that nobody can meet."""

    def make() -> Path:
        clone = tmp_path / f"clone {len(list(tmp_path.iterdir()))}"
        shutil.copytree(ROOT / "llama_chatbot" / "launch", clone / "llama_chatbot" / "launch")
        shutil.copy(ROOT / "Makefile", clone)
        for name in ("requirements.txt", "requirements-dev.txt", "requirements-model.txt"):
            (clone / name).write_text("not-to-be-had==1.0\n")
        shutil.rmtree(clone / "llama_chatbot" / "launch" / "__pycache__", ignore_errors=True)
        return clone

    return make


@pytest.fixture
def clone(new_clone: Callable[[], Path]) -> Path:
    return new_clone()


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
def test_it_refuses_a_port_that_is_no_port(clone: Path, port: str) -> None:
    before = files(clone)
    line = refusal(type_make(clone, "run", PORT=port))
    assert line == f"PORT is {port!r}: set it to a number from 1 to 65535"
    assert files(clone) == before


@pytest.mark.parametrize("line", ["PORT={}", " export PORT = '{}'  # mine", 'PORT=1\nPORT="{}"'])
def test_it_refuses_a_port_that_is_taken(clone: Path, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (clone / ".env").write_text(f"# PORT=1\nREPORT=2\n{line.format(port)}\n")
        before = files(clone)
        assert refusal(type_make(clone, "run")).startswith(f"Port {port} is taken: ")
        assert files(clone) == before


def test_the_port_of_the_environment_wins(clone: Path) -> None:
    (clone / ".env").write_text("PORT=8000\n")
    assert refusal(type_make(clone, "run", PORT="mine")).startswith("PORT is 'mine': ")


def test_it_refuses_an_old_python(clone: Path) -> None:
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


def test_it_takes_the_first_python_that_runs(clone: Path) -> None:
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
def test_it_refuses_a_python_without_its_venv_module(clone: Path, module: str) -> None:
    before = files(clone)
    line = refusal(
        type_make(clone, "run", PORT=str(free_port()), PYTHONPATH=without(clone, module))
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert line.endswith(
        f"install it, on Debian and Ubuntu with `apt install python{version}-venv`"
    )
    assert files(clone) == before


def test_it_refuses_a_python_without_sqlite(clone: Path) -> None:
    before = files(clone)
    path = without(clone, "_sqlite3")
    line = refusal(type_make(clone, "run", PORT=str(free_port()), PYTHONPATH=path))
    assert "was built without sqlite3: install another Python" in line
    assert files(clone) == before


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


# --- What is installed, and when ----------------------------------------------------------------


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


def load_bootstrap(clone: Path) -> ModuleType:
    path = clone / "llama_chatbot" / "launch" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location("bootstrap_of_a_clone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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


# --- .env ---------------------------------------------------------------------------------------


def settings_of(clone: Path) -> dict[str, str]:
    lines = (clone / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_settings_file_holds_a_key_of_its_own_and_is_private(
    new_clone: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CHATBOT_ENV_FILE", raising=False)
    one, other = new_clone(), new_clone()
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


# --- The processes ------------------------------------------------------------------------------


def processes() -> dict[int, tuple[int, str]]:
    """Every process that is alive on this machine: its parent and its command."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split(None, 3) for line in listing.stdout.splitlines())
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if row[2][0] != "Z"}


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, children's children included, and their commands."""
    everyone = processes()
    found: dict[int, str] = {}
    generation = {pid}
    while generation:
        generation = {each for each, (parent, _) in everyone.items() if parent in generation}
        found |= {each: everyone[each][1] for each in generation}
    return found


class Launched:
    """`make run`'s second half, as it runs from the .venv of this test."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.port = int(env["PORT"])
        self.log = directory / "launch.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llama_chatbot.launch"],
                cwd=ROOT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: text in self.said or self.process.poll() is not None, 60, lambda: self.said
        )
        assert text in self.said

    def wait_until_ready(self) -> str:
        """Wait for the line that says so, and return it."""
        self.wait_for("| head -1)/\n")
        return next(line for line in self.said.splitlines() if line.startswith("Llama Chatbot is"))

    @property
    def children(self) -> dict[int, str]:
        return descendants(self.process.pid)

    def child(self, command: str) -> int:
        """The process whose command line has this in it."""
        (pid,) = [pid for pid, line in self.children.items() if command in line]
        return pid

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to the launcher's process group, as a terminal does; the exit code.

        AssertionError when anything that it started is still there afterwards.
        """
        family = self.children
        os.killpg(self.process.pid, number)
        code = self.process.wait(30)
        assert not family.keys() & processes().keys()
        assert "Traceback" not in self.said
        return code


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a launch: a database of its own, and no settings file."""
    return {
        "LLAMA_CHATBOT_ENV_FILE": "",
        "SECRET_KEY": "a key for this test only, long enough for the deployment check",
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'launch.sqlite3'}",
        "PORT": str(free_port()),
    }


@pytest.fixture
def launch(tmp_path: Path, env: dict[str, str]) -> Iterator[Callable[..., Launched]]:
    """A function that launches the project; whatever it started is killed after the test."""
    launched: list[Launched] = []

    def launch(**more: str) -> Launched:
        launched.append(Launched(tmp_path, env | more))
        return launched[-1]

    yield launch
    for each in launched:
        family = [*each.children, each.process.pid]
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        each.process.wait()


@pytest.fixture
def ollama() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as server:
        yield server


needs_memcached = pytest.mark.skipif(
    not Memcached.available() or importlib.util.find_spec("pylibmc") is None,
    reason="needs memcached and pylibmc",
)
needs_the_model = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or not launcher.PYTHON.exists(),
    reason="needs the bundled model in .venv, which `make test` installs",
)


def without_memcached(directory: Path) -> str:
    """A PYTHONPATH under which pylibmc cannot be imported, as where it could not be built."""
    (directory / "pylibmc.py").write_text("raise ImportError('libmemcached.so.11: not found')\n")
    return str(directory)


@needs_memcached
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_all_that_it_started_and_nothing_else(
    launch: Callable[..., Launched], ollama: ScriptedOllama, number: signal.Signals
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url)
    ready = launched.wait_until_ready()
    address = f"http://127.0.0.1:{launched.port}"
    assert f"is ready on {address} with llama3.2 from {ollama.url} and Memcached at" in ready
    assert httpx.get(f"{address}/health/live/").status_code == 200
    assert launched.children.keys() == {
        launched.child("memcached -l 127.0.0.1 "),
        launched.child("uvicorn llama_chatbot.asgi:application"),
    }

    assert launched.end(number) == 0
    assert httpx.get(f"{ollama.url}/api/version").status_code == 200


def test_a_second_ctrl_c_waits_for_nothing(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url)
    launched.wait_until_ready()
    os.kill(launched.child("uvicorn"), signal.SIGSTOP)  # as one that never comes to its end
    os.killpg(launched.process.pid, signal.SIGINT)
    launched.wait_for("Ctrl-C again cuts them off\n")
    assert launched.process.poll() is None
    assert launched.end() == 0


@needs_memcached
def test_a_memcached_that_was_there_is_used_and_left_alone(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    with Memcached() as memcached:
        launched = launch(OLLAMA_HOST=ollama.url, CACHE_LOCATION=memcached.location)
        assert f"Memcached at {memcached.location}." in launched.wait_until_ready()
        assert len(launched.children) == 1
        assert launched.end() == 0
        assert memcached.running


@needs_memcached
def test_a_memcached_that_dies_is_started_again(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url)
    launched.wait_until_ready()
    os.kill(launched.child("memcached -l"), signal.SIGKILL)
    launched.wait_for("The Memcached exited with code -9, restarting it\n")
    wait_until(lambda: any("memcached -l" in line for line in launched.children.values()))
    assert launched.end() == 0


def test_without_memcacheds_client_the_cache_is_in_process(
    launch: Callable[..., Launched], ollama: ScriptedOllama, tmp_path: Path
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url, PYTHONPATH=without_memcached(tmp_path))
    assert "the in-process cache." in launched.wait_until_ready()
    assert len(launched.children) == 1
    assert launched.end() == 0


def test_without_memcacheds_client_a_location_is_not_used(
    launch: Callable[..., Launched], ollama: ScriptedOllama, tmp_path: Path
) -> None:
    launched = launch(
        OLLAMA_HOST=ollama.url,
        CACHE_LOCATION="127.0.0.1:1",
        PYTHONPATH=without_memcached(tmp_path),
    )
    assert "the in-process cache." in launched.wait_until_ready()
    assert "CACHE_LOCATION is set, but pylibmc is not installed" in launched.said
    assert launched.end() == 0


def test_a_model_that_ollama_lacks_is_named_with_the_command_that_pulls_it(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url, OLLAMA_MODEL="absent:1b")
    launched.wait_until_ready()
    assert (
        f"Ollama at {ollama.url} has no absent:1b yet. To get it, type:"
        " .venv/bin/python manage.py pullmodel absent:1b\n" in launched.said
    )
    assert launched.end() == 0


def test_uvicorn_is_told_which_proxies_the_settings_file_trusts(
    launch: Callable[..., Launched], ollama: ScriptedOllama, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("FORWARDED_ALLOW_IPS=192.0.2.7\n")
    launched = launch(OLLAMA_HOST=ollama.url, LLAMA_CHATBOT_ENV_FILE=str(tmp_path / "env"))
    launched.wait_until_ready()
    command = ["ps", "eww", "-o", "command=", "-p", str(launched.child("uvicorn"))]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "FORWARDED_ALLOW_IPS=192.0.2.7" in listing.stdout
    assert launched.end() == 0


def test_the_death_of_the_server_ends_all_with_its_exit_code(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url)
    launched.wait_until_ready()
    family = launched.children
    os.kill(launched.child("uvicorn"), signal.SIGKILL)
    assert launched.process.wait(30) == 128 + signal.SIGKILL
    assert launched.said.endswith("The server exited with code -9\n")
    assert not family.keys() & processes().keys()


def test_a_setting_that_cannot_be_used_ends_it_with_one_line(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url, RATE_LIMIT_CHAT="often")
    assert launched.process.wait(30) == 1
    (line,) = launched.said.splitlines()
    assert "RATE_LIMIT_CHAT" in line


@needs_the_model
def test_where_no_ollama_answers_the_bundled_model_does_and_is_kept_running(
    launch: Callable[..., Launched],
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    launched = launch(OLLAMA_HOST=nobody)
    assert "with the bundled smollm2:135m and" in launched.wait_until_ready()
    assert f"No Ollama answers at {nobody}: using the small bundled model" in launched.said
    os.kill(launched.child("local_model"), signal.SIGKILL)
    launched.wait_for("The bundled model exited with code -9, restarting it\n")
    wait_until(lambda: any("local_model" in line for line in launched.children.values()))
    assert launched.end() == 0

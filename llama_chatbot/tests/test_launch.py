"""`make run`'s second half: what it starts, and that it ends all that it started."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from llama_chatbot.launch import bootstrap as launcher
from llama_chatbot.tests.launched import Launched, processes
from testing.processes import Memcached, free_port
from testing.scripted_ollama import ScriptedOllama
from testing.waiting import wait_until


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
def test_a_signal_ends_all_that_was_started_and_nothing_else(
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
    assert "CACHE_LOCATION is set, but pylibmc is not installed" in launched.output
    assert launched.end() == 0


def test_a_model_that_ollama_lacks_is_named_with_the_command_that_pulls_it(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url, OLLAMA_MODEL="absent:1b")
    launched.wait_until_ready()
    assert (
        f"Ollama at {ollama.url} has no absent:1b yet. To get it, type:"
        " .venv/bin/python manage.py pullmodel absent:1b\n" in launched.output
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
    assert launched.output.endswith("The server exited with code -9\n")
    assert not family.keys() & processes().keys()


def test_a_setting_that_cannot_be_used_ends_the_launch_with_one_line(
    launch: Callable[..., Launched], ollama: ScriptedOllama
) -> None:
    launched = launch(OLLAMA_HOST=ollama.url, RATE_LIMIT_CHAT="often")
    assert launched.process.wait(30) == 1
    (line,) = launched.output.splitlines()
    assert "RATE_LIMIT_CHAT" in line


@needs_the_model
def test_where_no_ollama_answers_the_bundled_model_does_and_is_kept_running(
    launch: Callable[..., Launched],
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    launched = launch(OLLAMA_HOST=nobody)
    assert "with the bundled smollm2:135m and" in launched.wait_until_ready()
    assert f"No Ollama answers at {nobody}: using the small bundled model" in launched.output
    os.kill(launched.child("local_model"), signal.SIGKILL)
    launched.wait_for("The bundled model exited with code -9, restarting it\n")
    wait_until(lambda: any("local_model" in line for line in launched.children.values()))
    assert launched.end() == 0

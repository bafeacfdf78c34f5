"""GET /health/live/ and GET /health/ready/: for load balancers."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testing.environment import ENVIRONMENT
from testing.people import Caller
from testing.processes import ROOT, Memcached, Server, StartServer, free_port
from testing.scripted_ollama import ScriptedOllama
from testing.waiting import wait_until


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """An SQLite database of the test's own, with tables."""
    file = tmp_path / "db.sqlite3"
    environment = {**ENVIRONMENT, "DATABASE_URL": f"sqlite:///{file}"}
    command = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return file


WELL = {"database": "ok", "cache": "ok", "ollama": "ok"}


def test_the_server_lives(nobody: Caller) -> None:
    answer = nobody.get("/health/live/")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_head_request_is_answered_too(nobody: Caller) -> None:
    for path in ("/health/live/", "/health/ready/"):
        answer = nobody.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def wait_for_state(caller: Caller, status: int, **state: str) -> None:
    """Wait until readiness is this: an answer may be half a second old."""
    expected = (status, {**WELL, **state})

    def answer() -> tuple[int, dict[str, str]]:
        ready = caller.get("/health/ready/")
        return ready.status_code, ready.json()

    wait_until(lambda: answer() == expected, message=lambda: f"{answer()} is not {expected}")


def test_the_server_is_ready(nobody: Caller) -> None:
    wait_for_state(nobody, 200)


def test_without_ollama_the_server_is_ready_and_says_so(
    nobody: Caller, ollama: ScriptedOllama
) -> None:
    ollama.stop()

    wait_for_state(nobody, 200, ollama="does not answer")


def test_readiness_does_not_wait_long_for_an_ollama_that_hangs(
    nobody: Caller, ollama: ScriptedOllama
) -> None:
    ollama.hang_everything = True

    wait_for_state(nobody, 200, ollama="does not answer")

    assert nobody.get("/health/ready/").elapsed.total_seconds() < 4


def test_without_memcached_the_server_is_ready_and_says_so(start_server: StartServer) -> None:
    with Memcached() as memcached:
        nobody = Caller(start_server(CACHE_LOCATION=memcached.location).url)
        memcached.pause()
        wait_for_state(nobody, 200, cache="does not answer")
        memcached.kill()
        wait_for_state(nobody, 200, cache="does not answer")
        memcached.start()
        wait_for_state(nobody, 200)


def test_readiness_says_how_many_memcached_servers_are_down(start_server: StartServer) -> None:
    with Memcached() as first, Memcached() as second:
        server = start_server(CACHE_LOCATION=f"{first.location},{second.location}")
        first.kill()
        wait_for_state(Caller(server.url), 200, cache="1 of 2 servers do not answer")


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_without_its_database_the_server_lives_and_is_not_ready(
    start_server: StartServer, tmp_path: Path, engine: str
) -> None:
    secret = "pass-of-the-database"
    urls = {
        "sqlite": f"sqlite:///{tmp_path}/nowhere/{secret}.sqlite3",
        "postgres": f"postgres://user:{secret}@127.0.0.1:{free_port()}/{secret}",
    }
    server = start_server(DATABASE_URL=urls[engine])

    with Caller(server.url) as nobody:
        live = nobody.get("/health/live/")
        ready = nobody.get("/health/ready/")

    assert live.status_code == 200
    assert ready.status_code == 503
    database = ready.json().pop("database")
    assert ready.json() == {**WELL, "database": database}
    assert (
        database
        in {
            "sqlite": ("cannot be opened",),
            "postgres": ("does not answer", "does not answer in time"),
        }[engine]
    )
    assert secret not in ready.text


def test_a_server_whose_database_is_read_only_is_not_ready(
    migrated: Path, start_server: StartServer
) -> None:
    url = f"sqlite:///{migrated}?init_command=PRAGMA query_only = true"
    server = start_server(DATABASE_URL=url)

    with Caller(server.url) as nobody:
        wait_for_state(nobody, 503, database="is read-only")


def test_a_server_whose_database_is_not_migrated_is_not_ready(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")

    with Caller(server.url) as nobody:
        wait_for_state(nobody, 503, database="does not take a write")
    assert "no such table" in server.log()


def test_many_who_ask_at_once_share_a_check(migrated: Path, start_server: StartServer) -> None:
    """Each check writes to the database, and nobody who asks is logged in."""
    server = start_server(DATABASE_URL=f"sqlite:///{migrated}")
    log_of_writes = Path(f"{migrated}-wal")
    with ThreadPoolExecutor(20) as pool, Caller(server.url) as nobody:
        wait_for_state(nobody, 200)
        before = log_of_writes.stat().st_size

        statuses = set(pool.map(lambda _: nobody.get("/health/ready/").status_code, range(300)))

        grown = log_of_writes.stat().st_size - before
    assert statuses == {200}
    assert grown < 300 * 4096  # a page for each write at least


def test_readiness_tells_no_secret(server: Server, nobody: Caller, ollama: ScriptedOllama) -> None:
    ollama.stop()

    text = nobody.get("/health/ready/").text

    assert "127.0.0.1" not in text
    assert str(ollama.port) not in text
    assert not any(value in text for value in server.env.values() if len(value) > 5)


def test_health_is_answered_over_plain_http(start_server: StartServer) -> None:
    server = start_server(SECURE_SSL_REDIRECT="true")

    with Caller(server.url) as nobody:
        assert nobody.get("/health/live/").status_code == 200
        assert nobody.get("/health/ready/").status_code == 200
        assert nobody.get("/auth/status/").status_code == 301

"""GET /health/live/ and GET /health/ready/: for load balancers."""

from pathlib import Path

import pytest

from testing.people import Caller
from testing.processes import Memcached, Server, StartServer, free_port
from testing.scripted_ollama import ScriptedOllama

WELL = {"database": "ok", "cache": "ok", "ollama": "ok"}


def test_the_server_lives(nobody: Caller) -> None:
    answer = nobody.get("/health/live/")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_head_request_is_answered_too(nobody: Caller) -> None:
    for path in ("/health/live/", "/health/ready/"):
        answer = nobody.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_the_server_is_ready(nobody: Caller) -> None:
    answer = nobody.get("/health/ready/")

    assert (answer.status_code, answer.json()) == (200, WELL)


def test_readiness_says_that_ollama_is_down(nobody: Caller, ollama: ScriptedOllama) -> None:
    ollama.stop()

    answer = nobody.get("/health/ready/")

    assert answer.status_code == 503
    assert answer.json() == {**WELL, "ollama": "does not answer"}


def test_readiness_does_not_wait_long_for_an_ollama_that_hangs(
    nobody: Caller, ollama: ScriptedOllama
) -> None:
    ollama.hang_everything = True

    answer = nobody.get("/health/ready/")

    assert answer.status_code == 503
    assert answer.json() == {**WELL, "ollama": "does not answer"}
    assert answer.elapsed.total_seconds() < 4


def test_readiness_says_that_the_cache_is_down(start_server: StartServer) -> None:
    with Memcached() as memcached:
        server = start_server(CACHE_LOCATION=memcached.location)
        for end in (memcached.pause, memcached.kill):
            end()
            with Caller(server.url) as nobody:
                answer = nobody.get("/health/ready/")

            assert answer.status_code == 503
            assert answer.json() == {**WELL, "cache": "does not answer"}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_readiness_says_that_the_database_is_down(
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
    assert database in ("does not answer", "does not answer in time")
    assert secret not in ready.text


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

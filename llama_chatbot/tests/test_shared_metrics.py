"""GET /metrics where several processes of a host share them: all that they say, in one answer."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing.exposition import metrics_of
from testing.processes import Server, StartServer
from testing.waiting import wait_until

REQUESTS = "http_server_request_duration_seconds_count"
MODELS = {"http_route": "chat/models/", "http_response_status_code": "401"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def pair(start_server: StartServer, directory: Path) -> Iterator[tuple[Server, Server]]:
    """Two processes, each on a port of its own, as deploy/ runs them."""
    shared = {"METRICS_DIRECTORY": str(directory)}
    yield start_server(**shared), start_server(**shared)


def call_models(server: Server, times: int) -> None:
    for _ in range(times):
        assert httpx.get(f"{server.url}/chat/models/").status_code == 401


def wait_for_models(server: Server, number: int) -> None:
    wait_until(lambda: metrics_of(server.url).value(REQUESTS, **MODELS) == number)


def wait_for_processes(server: Server, number: int) -> None:
    wait_until(lambda: metrics_of(server.url).value("llama_chatbot_processes") == number)


def test_each_of_two_processes_answers_for_both(pair: tuple[Server, Server]) -> None:
    first, second = pair
    call_models(first, 3)
    call_models(second, 4)

    for server in pair:
        wait_for_models(server, 7)
        wait_for_processes(server, 2)
        size = metrics_of(server.url).value("llama_chatbot_pool_size", pool="heartbeat")
        assert size == 2


def test_workers_of_one_server_answer_for_all(start_server: StartServer, directory: Path) -> None:
    server = start_server(workers=2, METRICS_DIRECTORY=str(directory))

    call_models(server, 20)

    wait_for_models(server, 20)
    wait_for_processes(server, 2)


def test_what_is_a_state_goes_with_its_process_and_what_is_a_count_stays(
    pair: tuple[Server, Server],
) -> None:
    first, second = pair
    call_models(first, 3)
    wait_for_models(second, 3)
    wait_for_processes(second, 2)
    before = metrics_of(second.url)

    first.kill()

    wait_for_processes(second, 1)
    after = metrics_of(second.url)
    assert after.falls(before) == []
    assert after.value("llama_chatbot_pool_size", pool="heartbeat") == 1


def test_a_process_counts_on_where_the_one_before_it_ended(
    pair: tuple[Server, Server], directory: Path
) -> None:
    first, second = pair
    call_models(first, 3)
    wait_for_models(second, 3)
    before, files = metrics_of(second.url), set(directory.iterdir())

    for end in (first.kill, first.terminate):
        end()
        first.start()
        call_models(first, 1)

    wait_for_models(first, 5)
    wait_for_models(second, 5)
    assert metrics_of(second.url).falls(before) == []
    assert set(directory.iterdir()) == files


def test_the_first_process_of_all_begins_anew(pair: tuple[Server, Server], directory: Path) -> None:
    first, second = pair
    call_models(first, 3)
    wait_for_models(second, 3)
    for server in pair:
        server.kill()
    stale = directory / "counter_7.db"  # of a release that had other names
    stale.touch()

    first.start()

    assert metrics_of(first.url).value(REQUESTS, **MODELS) == 0
    assert not stale.exists()


def test_a_process_that_stands_still_holds_nobody_up(pair: tuple[Server, Server]) -> None:
    first, second = pair
    first.pause()
    try:
        assert metrics_of(second.url).value("llama_chatbot_processes") == 2
    finally:
        first.resume()


def test_a_directory_that_cannot_be_written_stops_the_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(RuntimeError, match="the setting METRICS_DIRECTORY is wrong"):
        start_server(METRICS_DIRECTORY=str(file))


def test_the_files_are_for_the_server_alone(pair: tuple[Server, Server], directory: Path) -> None:
    assert directory.stat().st_mode & 0o077 == 0

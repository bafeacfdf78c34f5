"""The fixtures of all tests: real servers, and the people who use them.

One server process, one Memcached and one scripted Ollama serve the whole run; each test begins
with an empty database and an Ollama that echoes.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

from accounts.models import User
from testing.environment import ENVIRONMENT
from testing.people import Caller, create_user
from testing.processes import Memcached, Server
from testing.scripted_ollama import ScriptedOllama, echo

StartServer = Callable[..., Server]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where everything must run, a test that could not is a failure."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("CI is set, and tests were skipped: see above", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and not exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    """A Memcached of the tests' own."""
    if not Memcached.available():
        pytest.skip("no memcached program is installed")
    with Memcached() as memcached:
        yield memcached


@pytest.fixture(scope="session")
def running_ollama() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as ollama:
        yield ollama


@pytest.fixture
def ollama(running_ollama: ScriptedOllama) -> Iterator[ScriptedOllama]:
    """A scripted Ollama that echoes, until the test gives it another script."""
    models = dict(running_ollama.models)
    yield running_ollama
    running_ollama.hang_everything = False
    if not running_ollama.is_running:
        running_ollama.start()
    running_ollama.release()
    running_ollama.wait_for_open(0, timeout=10)
    running_ollama.script = echo
    running_ollama.scripts.clear()
    running_ollama.chats.clear()
    running_ollama.models = models


@pytest.fixture(scope="session")
def prepared_database(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """The migrated database that the servers use too.

    Not pytest-django's, whose tests each run in a transaction that no other process sees into.
    """
    with django_db_blocker.unblock():
        before = setup_databases(verbosity=0, interactive=False)
        yield
        teardown_databases(before, verbosity=0)


@pytest.fixture
def database(prepared_database: None) -> Iterator[None]:
    """The database that the servers use too, without users."""
    yield
    User.objects.all().delete()


@pytest.fixture(scope="session")
def server_environment(prepared_database: None, running_ollama: ScriptedOllama) -> dict[str, str]:
    """The settings of a server that uses the tests' database and Ollama, without Memcached."""
    url = ENVIRONMENT["DATABASE_URL"]
    name = str(connection.settings_dict["NAME"])
    url = f"sqlite:///{name}" if "sqlite" in url else f"{url.rpartition('/')[0]}/{name}"
    return {**ENVIRONMENT, "DATABASE_URL": url, "OLLAMA_HOST": running_ollama.url}


@pytest.fixture(scope="session")
def shared_server(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    environment = {**server_environment, "CACHE_LOCATION": memcached.location}
    with Server(tmp_path_factory.mktemp("server"), environment) as server:
        yield server


@pytest.fixture
def server(shared_server: Server, database: None, ollama: ScriptedOllama) -> Server:
    """The server that most tests call; it may be called, but not killed or stopped."""
    return shared_server


@pytest.fixture
def start_server(
    server_environment: dict[str, str],
    memcached: Memcached,
    database: None,
    ollama: ScriptedOllama,
    tmp_path: Path,
) -> Iterator[StartServer]:
    """Start a server of the test's own, with settings of its own: `start_server(NAME="value")`."""
    servers: list[Server] = []

    def start(*, workers: int = 1, **settings: str) -> Server:
        environment = {**server_environment, "CACHE_LOCATION": memcached.location, **settings}
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = Server(directory, environment, workers=workers)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def ann(server: Server) -> Iterator[Caller]:
    """Somebody with an account, logged in."""
    with Caller(server.url, create_user("ann")) as ann:
        yield ann


@pytest.fixture
def bob(server: Server) -> Iterator[Caller]:
    """Somebody else with an account, logged in."""
    with Caller(server.url, create_user("bob")) as bob:
        yield bob


@pytest.fixture
def staff(server: Server) -> Iterator[Caller]:
    """Somebody of the staff, logged in."""
    with Caller(server.url, create_user("staff", is_staff=True)) as staff:
        yield staff


@pytest.fixture
def nobody(server: Server) -> Iterator[Caller]:
    """Somebody who is not logged in."""
    with Caller(server.url) as nobody:
        yield nobody

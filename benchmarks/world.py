"""The surroundings of a benchmark: the server as in production, a scripted model, and people.

Importing this module configures the environment and Django; no other module here does.
"""

import asyncio
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import django
import uvloop

_directory = tempfile.TemporaryDirectory(prefix="llama-chatbot-bench-")
DIRECTORY = Path(_directory.name)
TEMPLATE = DIRECTORY / "migrated.sqlite3"
MODEL = "bench:latest"

# As in production, but with rate limits that count every call and refuse none, and without TLS.
# No settings file is read, so that none of the developer's own settings leak in.
ENVIRONMENT = {
    "LLAMA_CHATBOT_ENV_FILE": "",
    "DEBUG": "false",
    "SECRET_KEY": "a-key-that-only-benchmarks-have-and-that-is-long-enough-for-django",
    "DATABASE_URL": f"sqlite:///{TEMPLATE}",
    "SECURE_SSL_REDIRECT": "false",
    "OLLAMA_MODEL": MODEL,
    "LOG_LEVEL": "WARNING",
    "RATELIMIT_ENABLE": "true",
    "RATE_LIMIT_CHAT": "10000000/m",
    "RATE_LIMIT_READ": "10000000/m",
    "RATE_LIMIT_WRITE": "10000000/m",
    "DJANGO_SETTINGS_MODULE": "llama_chatbot.settings",
}
os.environ.update(ENVIRONMENT)
django.setup()
logging.getLogger("audit").setLevel(logging.WARNING)  # who gets a token is no news here

from django.core.management import call_command  # noqa: E402 - needs the settings above
from django.db import connection, transaction  # noqa: E402

from accounts.models import Token, User  # noqa: E402
from chat.models import Thread  # noqa: E402
from testing.fixtures.databases import default_database  # noqa: E402
from testing.people import create_session, create_user  # noqa: E402
from testing.processes import (  # noqa: E402
    Memcached,
    PostgreSQL,
    ScriptedModel,
    Server,
)

OPEN_FILES = 10_240
R = TypeVar("R")


@dataclass(frozen=True)
class Person:
    """A user who is logged in, and their threads."""

    user_id: int
    headers: dict[str, str]
    threads: tuple[int, ...]

    @property
    def sends_to(self) -> str:
        """The path for sending messages to their first thread."""
        return f"/chat/streaming-response/{self.threads[0]}/"


@dataclass(frozen=True)
class World:
    """The processes of a benchmark, and their database."""

    database: Path
    model: ScriptedModel
    servers: Sequence[Server]

    @property
    def server(self) -> Server:
        """The first server, which is usually the only one."""
        return self.servers[0]


@contextmanager
def world(
    *,
    interval: float = 0.025,
    tokens: int = 200,
    applications: Sequence[str] = ("llama_chatbot.asgi:application",),
    on_postgresql: bool = False,
    settings: Sequence[Mapping[str, str]] = ({},),
) -> Iterator[World]:
    """Start a scripted model, a Memcached, and a server for each application, on one database.

    Where there are several `settings`, each application is served with each of them.

    The database is empty and new, SQLite's unless PostgreSQL is asked for; the model waits
    `interval` seconds between its tokens. The servers are uvicorn with its access log, as in
    docs/production.md, and one worker each.
    """
    allow_open_files()
    with ExitStack() as stack:
        model = stack.enter_context(ScriptedModel(interval, tokens))
        memcached = stack.enter_context(Memcached())
        database = Path(stack.enter_context(_directory_for_one())) / "db.sqlite3"
        if on_postgresql:
            url = stack.enter_context(PostgreSQL()).url
            stack.enter_context(default_database(url))
            call_command("migrate", verbosity=0, interactive=False)
        else:
            url = f"sqlite:///{database}"
            use_database(database)
        environment = {
            **ENVIRONMENT,
            "DATABASE_URL": url,
            "CACHE_LOCATION": memcached.location,
            "OLLAMA_HOST": model.url,
        }
        servers = [
            stack.enter_context(
                Server(database.parent, {**environment, **more}, application=application)
            )
            for application in applications
            for more in settings
        ]
        model.wait()
        yield World(database, model, servers)


def _directory_for_one() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=DIRECTORY)


def allow_open_files() -> None:
    """Raise the limit of open files, which the servers inherit, as far as permitted."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # macOS may refuse more than a kernel setting allows
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, OPEN_FILES), most))


def use_database(database: Path) -> None:
    """Create a migrated, empty database, and use it in this process's Django too."""
    connection.close()
    if not TEMPLATE.exists():
        call_command("migrate", verbosity=0, interactive=False)
        with connection.cursor() as cursor:  # so that the one file has everything
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    shutil.copy(TEMPLATE, database)
    connection.settings_dict["NAME"] = str(database)


@contextmanager
def one_transaction() -> Iterator[None]:
    """Store everything in one transaction, then leave the database to the servers."""
    with transaction.atomic():
        yield
    connection.close()


def create_people(number: int, threads: int = 1, name: str = "person") -> list[Person]:
    """Create users who are logged in, each with some threads."""
    with one_transaction():
        people = []
        for index in range(number):
            user = create_user(f"{name}-{index}")
            made = [Thread.objects.create(user=user, model=MODEL).pk for _ in range(threads)]
            headers = {"Cookie": f"sessionid={create_session(user)}"}
            people.append(Person(user.pk, headers, tuple(made)))
    return people


def create_token(person: Person) -> str:
    """Create a token of somebody's; return its secret."""
    return Token.objects.issue(User.objects.get(pk=person.user_id), "a benchmark", 1)[1]


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run a benchmark's load, on the fastest event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)

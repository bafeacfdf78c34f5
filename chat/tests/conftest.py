"""The fixtures of several tests of chat."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections
from pytest_django import Settings

from chat.models import Message, Send, Thread
from chat.ollama import calls, transport
from chat.replies.drafts import Draft
from chat.replies.registry import Registry
from chat.tests.bad_input import SECRET
from testing.people import Caller, create_user
from testing.processes import Memcached, Server
from testing.scripted_ollama import ScriptedOllama


@pytest_asyncio.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    """The registry of a process that has just started."""
    registry = Registry()
    monkeypatch.setattr("chat.replies.registry.current", registry)
    monkeypatch.setattr("chat.replies.registry.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(calls, "healths", {})
    yield registry
    assert not registry.replies
    await transport.close()
    await sync_to_async(connections.close_all)()  # no request ends here, which would do it


@pytest.fixture
def draft(registry: Registry, database: None, ollama: ScriptedOllama, settings: Settings) -> Draft:
    """A message that Ann is about to send."""
    settings.OLLAMA_HOST = ollama.url
    ann = create_user("ann")
    thread = Thread.objects.create(user=ann, model="llama3.2")
    return Draft(ann, thread.pk, "Hello", "newest", "")


@pytest.fixture
def database_url(each_database: None) -> str:
    """The setting of processes that use the database of this run of a test."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    return f"postgres://{settings['USER']}@127.0.0.1:{settings['PORT']}/{settings['NAME']}"


@pytest.fixture
def thread(ann: Caller) -> Thread:
    """A thread of Ann's."""
    return ann.thread(title="Old")


@pytest.fixture
def nothing_happens(
    server: Server, ann: Caller, thread: Thread, ollama: ScriptedOllama
) -> Iterator[None]:
    """A check that the test's calls have stored, sent and logged nothing, and nothing crashed."""
    before = Thread.objects.values().get()
    log = len(server.log())
    yield
    assert Thread.objects.values().get() == before
    assert not Message.objects.exists()
    assert not Send.objects.exists()
    assert not ollama.chats
    logged = server.log()[log:]
    assert SECRET not in logged
    assert "Traceback" not in logged


@pytest.fixture
def alone(shared_server: Server) -> Iterator[None]:
    """No server but those that the test starts: another would take over their replies."""
    shared_server.kill()
    yield
    shared_server.start()


@pytest.fixture(scope="module")
def other(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Another process with the same database, as a worker is."""
    settings = {"CACHE_LOCATION": memcached.location}
    with Server(tmp_path_factory.mktemp("other"), server_environment | settings) as server:
        yield server


@pytest.fixture
def there(other: Server, ann: Caller) -> Iterator[Caller]:
    """Ann, by way of the other process."""
    with Caller(other.url, ann.user) as there:
        yield there

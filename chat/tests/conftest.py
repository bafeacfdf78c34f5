"""The fixtures of tests whose own process writes the replies."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from chat.models import Thread
from chat.ollama import calls, transport
from chat.ollama.hosts import Health
from chat.replies import live
from chat.replies.live import Registry
from chat.replies.store import Draft
from testing.people import create_user
from testing.scripted_ollama import ScriptedOllama


@pytest_asyncio.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    """The registry of a process that has just started."""
    registry = Registry()
    monkeypatch.setattr(live, "registry", registry)
    monkeypatch.setattr(live, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(calls, "health", Health(calls.version, calls._write_a_token))
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

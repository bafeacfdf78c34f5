"""GET /chat/models/: the models to choose from."""

import socket
from collections.abc import Iterator

import pytest
from django.core.cache.backends.base import BaseCache

from chat.ollama import client
from core.cache import MemcachedCache
from testing.answers import error_of
from testing.people import Caller
from testing.processes import Memcached, StartServer
from testing.scripted_ollama import ModelInfo, ScriptedOllama

URL = "/chat/models/"


@pytest.fixture
def cache(memcached: Memcached, ollama: ScriptedOllama) -> Iterator[BaseCache]:
    """The cache of the servers, that knows Ollama's models neither at first nor afterwards."""
    cache = MemcachedCache(memcached.location, {})
    cache.delete(client.MODELS_CACHE_KEY)
    yield cache
    cache.delete(client.MODELS_CACHE_KEY)


def names(caller: Caller) -> list[str]:
    return [model["name"] for model in caller.get(URL).json()["models"]]


def test_the_list_has_ollamas_models(ann: Caller, cache: BaseCache) -> None:
    answer = ann.get(URL)

    assert answer.status_code == 200
    assert answer.json()["default"] == "llama3.2:latest"
    assert answer.json()["models"][0] == {
        "name": "llama3.2:latest",
        "size": 2_019_393_189,
        "family": "llama",
        "parameter_size": "3.2B",
        "modified_at": "2025-01-01T00:00:00+00:00",
    }
    assert [model["name"] for model in answer.json()["models"]] == [
        "llama3.2:latest",
        "tiny:latest",
        "thinker:latest",
    ]


def test_the_list_is_remembered_for_thirty_seconds(
    ann: Caller, cache: BaseCache, memcached: Memcached, ollama: ScriptedOllama
) -> None:
    known = names(ann)
    ollama.models["new:latest"] = ModelInfo()

    assert names(ann) == known
    assert 20 < seconds_left(memcached, cache.make_key(client.MODELS_CACHE_KEY)) <= 30
    cache.delete(client.MODELS_CACHE_KEY)
    assert names(ann) == [*known, "new:latest"]


def seconds_left(memcached: Memcached, key: str) -> int:
    """Ask Memcached how long it will still know a key."""
    with socket.create_connection(("127.0.0.1", memcached.port), timeout=5) as connection:
        connection.sendall(f"mg {key} t\r\n".encode())
        answer = connection.recv(64).decode()
    assert answer.startswith("HD t"), answer
    return int(answer.removeprefix("HD t"))


def test_a_model_pulled_meanwhile_can_be_chosen_at_once(
    ann: Caller, cache: BaseCache, ollama: ScriptedOllama
) -> None:
    assert "new:latest" not in names(ann)
    ollama.models["new:latest"] = ModelInfo()

    answer = ann.post("/chat/threads/new/", json={"model": "new"})

    assert answer.status_code == 201


def test_an_ollama_that_is_down_is_named(start_server: StartServer, ann: Caller) -> None:
    server = start_server(OLLAMA_HOST="http://127.0.0.1:1", CACHE_LOCATION="")

    with Caller(server.url, ann.user) as ann:
        error_of(ann.get(URL), 503, "model_unavailable")
        error_of(ann.post("/chat/threads/new/", json={"model": "tiny"}), 503, "model_unavailable")


def test_the_list_requires_a_login(nobody: Caller) -> None:
    error_of(nobody.get(URL), 401, "not_authenticated")

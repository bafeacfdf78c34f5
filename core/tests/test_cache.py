"""Several Memcached servers, restarted, dead and hung ones."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.cache.backends.base import InvalidCacheKey

from core.cache import MemcachedCache
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Memcached, StartServer
from testing.waiting import wait_until

KEYS = [f"key-{number}" for number in range(40)]
MONTHS = 60 * 60 * 24 * 90


@pytest.fixture
def pair(memcached: Memcached) -> Iterator[tuple[Memcached, Memcached]]:
    """Two servers that only this test uses."""
    with Memcached() as first, Memcached() as second:
        yield first, second


def cache_of(*servers: Memcached) -> MemcachedCache:
    return MemcachedCache([server.location for server in servers], {})


def served_by(server: Memcached) -> list[str]:
    alone = cache_of(server)
    return [key for key in KEYS if alone.get(key) is not None]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_keys_are_spread_over_the_servers(pair: tuple[Memcached, Memcached]) -> None:
    cache = cache_of(*pair)

    for key in KEYS:
        cache.set(key, key)

    assert [cache.get(key) for key in KEYS] == KEYS
    assert len(served_by(pair[0])) > 10
    assert len(served_by(pair[1])) > 10


def test_the_keys_of_a_dead_server_are_kept_by_the_other(
    pair: tuple[Memcached, Memcached],
) -> None:
    first, second = pair
    cache = cache_of(*pair)
    for key in KEYS:
        cache.set(key, "before")
    kept = served_by(second)

    first.kill()

    assert [key for key in KEYS if cache.get(key) == "before"] == kept
    for key in KEYS:
        assert cache.add(key, 1) is (key not in kept)
    for key in set(KEYS) - set(kept):
        assert cache.incr(key) == 2


def test_a_server_gets_its_keys_back_once_it_is_back(pair: tuple[Memcached, Memcached]) -> None:
    first, _ = pair
    cache = cache_of(*pair)
    for key in KEYS:
        cache.set(key, "before")
    its_own = served_by(first)
    first.kill()
    cache.get(its_own[0])
    first.start()

    def has_its_keys() -> bool:
        cache.set_many(dict.fromkeys(KEYS, "after"))
        return served_by(first) == its_own

    wait_until(has_its_keys)


def test_after_a_restart_no_operation_fails(pair: tuple[Memcached, Memcached]) -> None:
    """Every connection in the pool is broken then."""
    server, _ = pair
    cache = cache_of(server)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: cache.set(key, 1), KEYS * 10))

        server.kill()
        server.start()

        assert all(pool.map(lambda key: cache.add(key, 1), KEYS))


def test_a_hung_server_holds_up_one_operation_a_second(
    pair: tuple[Memcached, Memcached],
) -> None:
    first, _ = pair
    cache = cache_of(*pair)
    for key in KEYS:
        cache.set(key, "before")
    its_own = served_by(first)

    first.pause()
    try:
        with at_most(0.9):
            assert [cache.get(key) for key in its_own] == [None] * len(its_own)
        with at_most(0.9):
            assert [cache.add(key, 1) for key in its_own] == [True] * len(its_own)
            assert [cache.incr(key) for key in its_own] == [2] * len(its_own)
    finally:
        first.resume()


def test_without_any_server_reads_miss_and_writes_do_nothing(
    pair: tuple[Memcached, Memcached],
) -> None:
    cache = cache_of(*pair)
    for server in pair:
        server.kill()

    assert cache.get("a", "default") == "default"
    assert cache.add("a", 1) is False
    assert cache.touch("a") is False
    assert cache.delete("a") is False
    assert cache.get_many(["a", "b"]) == {}
    cache.set("a", 1)
    cache.set_many({"a": 1})
    cache.clear()
    with pytest.raises(ValueError, match="a' not found"):
        cache.incr("a")


def test_values_and_expiries_are_those_of_djangos_caches(memcached: Memcached) -> None:
    cache = cache_of(memcached)
    cache.clear()

    cache.set_many({"text": "a", "number": 5, "bytes": b"\0", "none": None})
    assert cache.get_many(["text", "number", "bytes"]) == {"text": "a", "number": 5, "bytes": b"\0"}
    assert cache.incr("number", 3) == 8
    assert cache.decr("number") == 7
    cache.set("expired", 1, timeout=0)
    assert cache.get("expired") is None
    cache.set("late", 1, timeout=MONTHS)  # more than Memcached takes for a number of seconds
    cache.set("never", 1, timeout=None)
    assert cache.get("late") == cache.get("never") == 1
    assert cache.touch("never", 100) is True
    assert cache.touch("absent", 100) is False
    assert cache.touch("never", 0) is True
    assert cache.get("never") is None
    assert cache.delete("late") is True
    assert cache.delete("late") is False
    cache.clear()
    assert cache.get("text") is None


def test_a_value_that_is_too_large_leaves_no_old_one(memcached: Memcached) -> None:
    cache = cache_of(memcached)
    cache.set("large", "small")

    cache.set("large", bytes(range(256)) * 8192)

    assert cache.get("large") is None


@pytest.mark.parametrize("key", ["a b", "a\n", "x" * 251])
def test_keys_that_memcached_does_not_take_are_refused(memcached: Memcached, key: str) -> None:
    with pytest.raises(InvalidCacheKey):
        cache_of(memcached).get(key)


def test_everybody_logs_in_while_one_of_two_servers_is_dead(
    start_server: StartServer, pair: tuple[Memcached, Memcached]
) -> None:
    first, second = pair
    server = start_server(CACHE_LOCATION=f"{first.location},{second.location}")
    for number in range(12):
        create_user(f"user{number}")
    first.kill()

    with Caller(server.url) as nobody:
        statuses = [
            nobody.post(
                "/auth/login/", json={"username": f"user{number}", "password": PASSWORD}
            ).status_code
            for number in range(12)
        ]

    assert statuses == [200] * 12

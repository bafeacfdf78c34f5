"""The Memcached cache backend: pooled connections, and misses instead of errors.

Django creates a cache object per request under ASGI, and pylibmc's clients may not be shared
between threads, so Django's own backend connects for each request again. Here each server has
one pool for the whole process, and a client is borrowed from it for one operation.

Keys are spread over the servers by rendezvous hashing. The keys of a server that does not answer
move to the others, where they are misses at first, and move back when it does.
"""

import logging
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import pylibmc
from django.core.cache.backends.base import (
    DEFAULT_TIMEOUT,
    BaseCache,
    InvalidCacheKey,
    memcache_key_warnings,
)

from core import metrics

TIMEOUT_SECONDS = 0.2
BREAK_SECONDS = 1.0
MAX_IDLE = 20
LONGEST_RELATIVE_EXPIRY = 30 * 24 * 60 * 60  # Memcached takes a larger number for a date

BEHAVIORS = {
    "tcp_nodelay": True,
    "connect_timeout": int(TIMEOUT_SECONDS * 1000),  # milliseconds
    "_poll_timeout": int(TIMEOUT_SECONDS * 1000),  # milliseconds
    "send_timeout": int(TIMEOUT_SECONDS * 1_000_000),  # microseconds
    "receive_timeout": int(TIMEOUT_SECONDS * 1_000_000),  # microseconds
}

logger = logging.getLogger(__name__)


class ServerAway(Exception):
    """A Memcached server does not answer."""


class Server:
    """One Memcached server, with the connections to it that are idle."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._idle: list[pylibmc.Client] = []  # the last used is used next, so few stay open
        self._lock = threading.Lock()
        self._away_until = 0.0  # of time.monotonic()
        self._errors = metrics.cache_errors.labels(address)

    @property
    def is_away(self) -> bool:
        """Whether it failed less than a second ago."""
        return time.monotonic() < self._away_until

    def call(self, operation: Callable[[pylibmc.Client], Any]) -> Any:
        """Run an operation of a client and return its result. Raises `ServerAway`."""
        if self.is_away:
            raise ServerAway
        with self._lock:
            client = self._idle.pop() if self._idle else None
        began = time.monotonic()
        if client:
            try:
                return self._run(client, operation)
            except (pylibmc.NotFound, pylibmc.TooBig):
                raise
            except pylibmc.Error as error:
                if has_timed_out(began):
                    self._mark_away(error)
                    raise ServerAway from None
                # After a restart of the server all connections are broken, and a new one is not.
                with self._lock:
                    self._idle.clear()
        try:
            return self._run(pylibmc.Client([self.address], behaviors=BEHAVIORS), operation)
        except (pylibmc.NotFound, pylibmc.TooBig):
            raise
        except pylibmc.Error as error:
            self._mark_away(error)
            raise ServerAway from None

    def _run(self, client: pylibmc.Client, operation: Callable[[pylibmc.Client], Any]) -> Any:
        """Run an operation and return the client to the pool unless its connection has failed."""
        began = time.monotonic()
        try:
            result = operation(client)
            if result in (None, {}) and has_timed_out(began):
                # pylibmc reports a read that timed out as a miss; the next operation then fails.
                result = operation(client)
        except (pylibmc.NotFound, pylibmc.TooBig):
            self._give_back(client)
            raise
        self._give_back(client)
        return result

    def _give_back(self, client: pylibmc.Client) -> None:
        with self._lock:
            self._idle.append(client)
            del self._idle[:-MAX_IDLE]

    def _mark_away(self, error: Exception) -> None:
        with self._lock:
            self._idle.clear()
        self._away_until = time.monotonic() + BREAK_SECONDS
        self._errors.inc()
        logger.warning("Memcached at %s does not answer: %s", self.address, error)


def has_timed_out(began: float) -> bool:
    """Return whether an operation that began at this time has taken as long as it may."""
    return time.monotonic() - began > 0.9 * TIMEOUT_SECONDS


_servers: dict[str, Server] = {}
_servers_lock = threading.Lock()


def get_server(address: str) -> Server:
    """Return the process's one `Server` for an address."""
    with _servers_lock:
        return _servers.setdefault(address, Server(address))


class MemcachedCache(BaseCache):
    """A cache in one or several Memcached servers.

    While no server answers, a read is a miss, a write does nothing, and `incr` raises `ValueError`
    as it does for a missing key.
    """

    def __init__(self, location: str | list[str], params: dict[str, Any]) -> None:
        super().__init__(params)
        addresses = [location] if isinstance(location, str) else location
        self.servers = [get_server(address.strip()) for address in addresses]

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> bool:
        """Store a value under a key that has none; return whether it was stored."""
        key, expiry = self.memcached_key(key, version), self.expiry(timeout)
        return bool(self._call(key, lambda client: client.add(key, value, expiry), miss=False))

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """Return the value of a key, `default` where there is none."""
        key = self.memcached_key(key, version)
        return self._call(key, lambda client: client.get(key, default), miss=default)

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> None:
        """Store a value, or delete the key where the value is too large."""
        key, expiry = self.memcached_key(key, version), self.expiry(timeout)
        try:
            self._call(key, lambda client: client.set(key, value, expiry), miss=False)
        except pylibmc.TooBig:
            self._call(key, lambda client: client.delete(key), miss=False)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Give a key a new expiry; return whether there is such a key."""
        if timeout == 0:
            return self.delete(key, version)
        key, expiry = self.memcached_key(key, version), self.expiry(timeout)
        return bool(self._call(key, lambda client: client.touch(key, expiry), miss=False))

    def delete(self, key: Any, version: Any = None) -> bool:
        """Delete a key; return whether there was one."""
        key = self.memcached_key(key, version)
        return bool(self._call(key, lambda client: client.delete(key), miss=False))

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        """Add to a number and return the sum. Raises `ValueError` where there is no such key."""
        key = self.memcached_key(key, version)
        try:
            if delta < 0:
                number = self._call(key, lambda client: client.decr(key, -delta), miss=None)
            else:
                number = self._call(key, lambda client: client.incr(key, delta), miss=None)
        except pylibmc.NotFound:
            number = None
        if number is None:
            raise ValueError(f"Key {key!r} not found")
        return int(number)

    def clear(self) -> None:
        """Delete all keys of all servers."""
        for server in self.servers:
            try:
                server.call(lambda client: client.flush_all())
            except ServerAway:
                continue

    def count_away(self) -> int:
        """Return how many of the servers do not keep a value."""
        key = f"health-{uuid4()}"
        away = 0
        for server in self.servers:
            try:
                away += not server.call(lambda client: client.set(key, 1, 5) and client.get(key))
            except ServerAway:
                away += 1
        return away

    def validate_key(self, key: str) -> None:
        """Raise `InvalidCacheKey` for a key that Memcached does not take."""
        for warning in memcache_key_warnings(key):
            raise InvalidCacheKey(warning)

    def memcached_key(self, key: Any, version: Any) -> str:
        """Return the key as it is sent to the server."""
        return str(self.make_and_validate_key(key, version=version))

    def expiry(self, timeout: Any) -> int:
        """Return a timeout as Memcached takes it: 0 for never, a date where it is far away."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        if seconds is None:
            return 0
        seconds = int(seconds)
        if seconds <= 0:
            return -1  # already expired
        return seconds if seconds <= LONGEST_RELATIVE_EXPIRY else seconds + int(time.time())

    def _call(self, key: str, operation: Callable[[pylibmc.Client], Any], miss: Any) -> Any:
        """Run an operation on the first server that answers; return `miss` where none does."""
        for server in self._in_order(key):
            try:
                return server.call(operation)
            except ServerAway:
                continue
        return miss

    def _in_order(self, key: str) -> list[Server]:
        """Return the servers in the order in which they are to keep a key."""
        if len(self.servers) == 1:
            return self.servers

        def rank(server: Server) -> bytes:
            return blake2b(f"{key}@{server.address}".encode(), digest_size=8).digest()

        return sorted(self.servers, key=rank)

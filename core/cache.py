"""The Memcached backend: connections pooled for the process, and soft when Memcached is away.

Django makes a cache object per request under ASGI, and pylibmc's clients may not be shared
between threads: so the stock backend connects anew for each request. Here an operation borrows a
client from one pool and gives it back.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pylibmc
from django.core.cache.backends.memcached import PyLibMCCache

BREAK_SECONDS = 1.0
MAX_IDLE = 20

BEHAVIORS = {
    "tcp_nodelay": True,
    "connect_timeout": 200,  # milliseconds
    "_poll_timeout": 200,  # milliseconds
    "send_timeout": 200_000,  # microseconds
    "receive_timeout": 200_000,  # microseconds
    "retry_timeout": 1,  # seconds
    "dead_timeout": 1,  # seconds
}

# What each operation answers while Memcached is away: a miss, or that nothing was stored.
MISSES: dict[str, Callable[..., Any]] = {
    "add": lambda *_: False,
    "set": lambda *_: False,
    "touch": lambda *_: False,
    "delete": lambda *_: False,
    "get": lambda key, default=None: default,
    "get_multi": lambda *_: {},
    "set_multi": lambda data, *_: list(data),
    "delete_multi": lambda *_: False,
    "incr": lambda *_: None,
    "decr": lambda *_: None,
    "flush_all": lambda *_: None,
}

logger = logging.getLogger(__name__)


class Pool:
    """Looks like one pylibmc client to Django's backend, and is as many as there are threads."""

    def __init__(self, servers: list[str], options: dict[str, Any]) -> None:
        self.servers = servers
        self.options = {"behaviors": BEHAVIORS, **options}
        self.idle: list[pylibmc.Client] = []  # the last used is used next, so few stay open
        self.lock = threading.Lock()
        self.broken_until = 0.0  # of time.monotonic()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        """Return one of pylibmc's operations, by name."""
        miss = MISSES[operation]

        def call(*args: Any) -> Any:
            if time.monotonic() < self.broken_until:
                return miss(*args)
            with self.lock:
                client = self.idle.pop() if self.idle else None
            client = client or pylibmc.Client(self.servers, **self.options)
            try:
                return getattr(client, operation)(*args)
            except (pylibmc.NotFound, pylibmc.TooBig):
                raise
            except pylibmc.Error as error:
                self.broken_until = time.monotonic() + BREAK_SECONDS
                logger.warning("Memcached does not answer: %s", error)
                client = None  # its connection may be in the middle of an answer
                return miss(*args)
            finally:
                if client:
                    with self.lock:
                        self.idle.append(client)
                        del self.idle[:-MAX_IDLE]

        return call


_pools: dict[tuple[str, ...], Pool] = {}
_pools_lock = threading.Lock()


class PooledPyLibMCCache(PyLibMCCache):
    """Django's pylibmc backend over a pool that outlives the request.

    While Memcached is away, and for a second after each failure without asking it, a read is a
    miss, a write does nothing, and `incr` raises `ValueError` as for a key that is not there.
    """

    _options: dict[str, Any]

    @property
    def _cache(self) -> Pool:
        servers = tuple(self.client_servers)
        with _pools_lock:
            if servers not in _pools:
                _pools[servers] = Pool(list(servers), self._options)
            return _pools[servers]

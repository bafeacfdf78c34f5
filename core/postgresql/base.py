"""Django's PostgreSQL backend, failing fast while PostgreSQL is away.

On its own each call would wait for the pool's time-out and keep its thread as long: others would
queue up behind these threads, and still wait when PostgreSQL is back.
"""

import threading
import time
from typing import Any

from django.db.backends.postgresql import base

PATIENCE_SECONDS = 0.5  # of a call, once another has waited in vain for as long as the pool lets it
PROBE_SECONDS = 0.1  # between two attempts to connect

reachable = threading.Event()
"""Set unless this process could not get a connection when it last needed one."""
reachable.set()

_probing = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, which asks the pool for a connection only where there may be one."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection from the pool. Raises `OperationalError`."""
        if not reachable.is_set():
            self._wait_until_reachable(conn_params)
        try:
            return super().get_new_connection(conn_params)
        except self.Database.OperationalError:
            reachable.clear()
            raise

    def _wait_until_reachable(self, conn_params: dict[str, Any]) -> None:
        """Wait a moment for PostgreSQL, one thread at a time trying to connect."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reachable.is_set():
            if _probing.acquire(blocking=False):
                try:
                    self.Database.connect(**conn_params).close()
                    reachable.set()
                    return
                except self.Database.OperationalError:
                    if time.monotonic() > deadline:
                        raise
                finally:
                    _probing.release()
            elif time.monotonic() > deadline:
                raise self.Database.OperationalError("PostgreSQL could not be reached.")
            reachable.wait(PROBE_SECONDS)

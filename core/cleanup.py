"""Deletes rows in the background: in small transactions, in one process at a time.

Deleting a hundred thousand rows at once would lock SQLite for seconds. So a deletion only hides
rows, and sets `due`; the rows follow batch by batch. What a crash leaves behind is deleted by the
next run: a server has one when it starts, and one every hour, which also finds what has expired.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, connection, transaction

from core.locks import process_lock

BATCH_SECONDS = 0.05  # roughly how long a transaction may last; others wait for it on SQLite
MAX_BATCH = 1_000  # rows
INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 2.0
LOCK = "cleanup"

logger = logging.getLogger(__name__)

Step = Callable[[int], int]
"""Deletes about as many rows as it is told, and returns how many; 0 when none are left.

It is called in a transaction of its own.
"""

due = threading.Event()
"""Set by a deletion that has left rows to delete."""


def run(steps: Sequence[Step], should_stop: Callable[[], bool] = lambda: False) -> int | None:
    """Run each step until it finds nothing; return how many rows were deleted.

    None where another process is running them. `should_stop` is asked between batches.
    """
    with process_lock(LOCK, connection) as is_held:
        if not is_held:
            return None
        return sum(_run_step(step, should_stop) for step in steps)


def _run_step(step: Step, should_stop: Callable[[], bool]) -> int:
    total, limit = 0, 100
    while not should_stop():
        with transaction.atomic():
            began = time.monotonic()
            deleted = step(limit)
            took = time.monotonic() - began
        if not deleted:
            break
        total += deleted
        if took > BATCH_SECONDS:
            limit = max(limit // 2, 1)
        elif took < BATCH_SECONDS / 2:
            limit = min(limit * 2, MAX_BATCH)
        time.sleep(took)  # writers that wait for SQLite ask for the lock again only now and then
    return total


class Cleaner:
    """A thread that runs the steps: at its start, whenever `due` is set, and once an hour."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleanup", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the batch that is under way; blocks until then."""
        self._stopping.set()
        due.set()
        self._thread.join()

    def _run(self) -> None:
        due.set()
        while due.wait(INTERVAL_SECONDS) or True:
            due.clear()
            if self._stopping.is_set():
                return
            if not self._try_once():
                self._stopping.wait(RETRY_SECONDS)
                due.set()

    def _try_once(self) -> bool:
        """Run the steps; return False where another process is at it, or the database is away."""
        try:
            return run(self._steps, self._stopping.is_set) is not None
        except DatabaseError as error:
            logger.error("Rows could not be deleted, the next try follows: %s", error)
            return False
        finally:
            connection.close()

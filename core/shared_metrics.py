"""Shares the metrics of a host's processes through files, so that each of them answers for all.

prometheus_client keeps the values of a process in files that bear its name. A process is named
after a slot here, the lowest number that no living process has, and not after its id: one that
restarts goes on with the counters of the one before. So a sum over all processes never falls, which
Prometheus would take for an increase by the whole sum, and there are never more files than
processes. The slot is held by a lock on a file, which goes with its process however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import prometheus_client.values
from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import MultiProcessValue

_held: list[int] = []  # the descriptor of this process's slot


def join(directory: Path) -> None:
    """Keep the metrics of this process in `directory`, with those of the others on this host.

    To be called before `core.metrics` is imported. Raises `OSError`.

    Private part of prometheus_client: `values.ValueClass`, the class of all values. Without it a
    process is named after its id, so counters start again with each. Then set the environment
    variable PROMETHEUS_MULTIPROC_DIR before the import, and keep the files of the dead.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory):
        slots = _slots(directory)
        if not any(slots.values()):  # what is there may be of another release
            for file in directory.glob("*.db"):
                file.unlink()
        slot = next(number for number in range(len(slots) + 1) if not slots.get(number))
        descriptor = os.open(_lock_of(directory, slot), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _held.append(descriptor)
        mark_process_dead(slot, str(directory))  # type: ignore[no-untyped-call]
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    prometheus_client.values.ValueClass = MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def is_joined() -> bool:
    """Return whether this process shares its metrics."""
    return bool(_held)


def read(directory: Path) -> list[Metric]:
    """Return the metrics of all processes, without the states of those that are dead."""
    with _alone(directory):
        for slot, is_alive in _slots(directory).items():
            if not is_alive:
                mark_process_dead(slot, str(directory))  # type: ignore[no-untyped-call]
    # A file is empty for a moment when it is made, which prometheus_client cannot read.
    files = [str(file) for file in directory.glob("*.db") if file.stat().st_size]
    return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]


def _slots(directory: Path) -> dict[int, bool]:
    """Return each slot that has ever been taken, with whether its process is alive."""
    slots = {}
    for file in directory.glob("slot-*.lock"):
        descriptor = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alive = False
        except BlockingIOError:
            is_alive = True
        finally:
            os.close(descriptor)
        slots[int(file.stem.removeprefix("slot-"))] = is_alive
    return slots


def _lock_of(directory: Path, slot: int) -> Path:
    return directory / f"slot-{slot}.lock"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let no other process take or look at slots meanwhile."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

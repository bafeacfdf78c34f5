"""Reads the log of what has happened to threads in all processes; blocks on the database."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from django.db.models import Q

from chat import statements
from chat.models import Thread, ThreadEvent
from chat.schemas import ThreadInList

RECENT = 100  # rows before the first new one, among which some may not be visible yet
GAP_SECONDS = 10.0  # after which no transaction still holds an id that is missing
MOST_GAPS = 100  # between two rows
MOST_ROWS = 1_000  # at once
MOST_MISSED = 500  # events that a reader who comes back is told one by one

Kind = ThreadEvent.Kind


class Row(NamedTuple):
    """One row of the log."""

    pk: int
    user_id: int
    kind: str
    thread_id: int
    reply_id: int
    status: str


class Notice(NamedTuple):
    """What a reader is told.

    A reader that has had it misses nothing by coming back at `position`; None does not move the
    position. `row` is the row of the log that it comes from.
    """

    type: str
    data: Mapping[str, Any]
    position: int | None = None
    row: int = 0


class LogReader:
    """How far the log has been read.

    With PostgreSQL a row becomes visible when its transaction ends, which may be after rows with
    higher ids: an id that is missing is looked for until no transaction can have it any more.
    """

    def __init__(self, recent: Sequence[int]) -> None:
        """Begin after the rows with these ids, the newest there are."""
        self._newest = recent[-1] if recent else 0
        # When each id was first missed. Replaced and never changed: another thread reads it.
        self._missing = dict.fromkeys(_gaps(recent), time.monotonic())

    @classmethod
    def at_the_end(cls) -> "LogReader":
        """Return a reader of what is noted from now on."""
        newest = ThreadEvent.objects.order_by("-pk").values_list("pk", flat=True)[:RECENT]
        return cls(list(newest)[::-1])

    @property
    def position(self) -> int:
        """The id up to which all rows have been read."""
        newest, missing = self._newest, self._missing
        return min(missing) - 1 if missing else newest

    def read(self) -> list[Row]:
        """Return up to `MOST_ROWS` rows that are new, by their ids."""
        unread = Q(pk__gt=self._newest) | Q(pk__in=list(self._missing))
        rows = _rows(ThreadEvent.objects.filter(unread).order_by("pk")[:MOST_ROWS])
        ids, now = {row.pk for row in rows}, time.monotonic()
        missing = {
            pk: since
            for pk, since in self._missing.items()
            if pk not in ids and now - since < GAP_SECONDS
        }
        after = [self._newest, *(row.pk for row in rows if row.pk > self._newest)]
        missing.update(dict.fromkeys(_gaps(after), now))
        self._missing, self._newest = missing, after[-1]
        return rows


def _gaps(ids: Sequence[int]) -> Iterator[int]:
    """Yield the ids that are missing between these, at most `MOST_GAPS` before each."""
    for before, after in pairwise(ids):
        yield from range(max(before + 1, after - MOST_GAPS), after)


def read_for(reader: LogReader, users: Collection[int]) -> dict[int, list[Notice]]:
    """Return the new notices by user, for those of `users` that have any."""
    by_user: dict[int, list[Row]] = {}
    for row in reader.read():
        if row.user_id in users:
            by_user.setdefault(row.user_id, []).append(row)
    threads = _threads(row for rows in by_user.values() for row in rows)
    return {
        user_id: list(_notices(rows, threads, reader.position)) for user_id, rows in by_user.items()
    }


def missed_since(user_id: int, position: int, read: int) -> list[Notice] | None:
    """Return what has happened to a user's threads since a position; None where that is not known.

    `read` is a position up to which no row is missing.
    """
    ids = ThreadEvent.objects.order_by("pk").values_list("pk", flat=True)
    oldest, newest = ids.first() or 0, ids.last() or 0
    if not oldest - 1 <= position <= newest:
        return None
    since = ThreadEvent.objects.filter(user_id=user_id, pk__gt=position).order_by("pk")
    rows = _rows(since[: MOST_MISSED + 1])
    if len(rows) > MOST_MISSED:
        return None
    return list(_notices(rows, _threads(rows), max(position, read)))


def _rows(events: Any) -> list[Row]:
    return [
        Row(*values)
        for values in events.values_list("pk", "user_id", "kind", "thread_id", "reply_id", "status")
    ]


def _threads(rows: Iterable[Row]) -> dict[int, Thread]:
    """Return the threads of these rows that still exist, each as in a list."""
    ids = sorted({row.thread_id for row in rows if row.kind not in (Kind.DELETED, Kind.MANY)})
    return {thread.pk: thread for thread in statements.threads_in_list(ids)}


def _notices(rows: Iterable[Row], threads: Mapping[int, Thread], newest: int) -> Iterator[Notice]:
    """Yield the notices for one user's rows, with each thread once and as it is now."""
    told = set()
    for row in rows:
        position = min(row.pk, newest)
        if row.kind == Kind.MANY:
            yield Notice("reload", {}, position, row.pk)
        elif row.kind == Kind.DELETED:
            yield Notice("thread_deleted", {"id": row.thread_id}, position, row.pk)
        else:
            thread = threads.get(row.thread_id)
            if thread and thread.user_id == row.user_id and thread.pk not in told:
                told.add(thread.pk)
                fields = ThreadInList.model_validate(thread).model_dump()
                is_all = row.kind == Kind.CHANGED
                yield Notice("thread", fields, position if is_all else None, row.pk)
            of_reply = {"thread_id": row.thread_id, "reply_id": row.reply_id}
            if row.kind == Kind.REPLY_STARTED:
                yield Notice("reply_started", of_reply, position, row.pk)
            elif row.kind == Kind.REPLY_ENDED:
                yield Notice("reply_ended", {**of_reply, "status": row.status}, position, row.pk)

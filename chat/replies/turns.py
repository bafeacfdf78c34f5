"""Whose turn it is to have a model write, where `OLLAMA_PARALLEL` limits the calls to each host.

Each call that waits or has its turn is a row: that of a stored reply, of a title, or of a
completion that is stored nowhere. A row without a host waits. Next is the oldest call of the user
with the fewest that run; of two such users, the one whose last turn ended longer ago, or who came
first. A call is skipped while all hosts that have its model are full.

All processes see the same rows and come to the same order, and each takes turns for its own calls
alone. Taking turns is one transaction, and two never run at once, so there are never more turns
than there may be. The rows of a process that has died are deleted; those of replies stay as long
as another process may carry the reply on, in its turn or at its place.

All of it is sync, and blocks on the database.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from chat import statements
from chat.models import Message, MessageStatus, Turn
from chat.ollama import client, placement
from chat.replies.owner import NOBODY, may_be_alive, this_process
from core import sql
from core.errors import Unavailable

LOCK = 0x6C6C616D61  # in PostgreSQL, of the transaction that takes turns
STALE_AFTER = timedelta(seconds=8)  # of silence, a process that may exist counts as dead
SKIPPED_AFTER = timedelta(seconds=4)  # of silence, its waiting calls no longer hold others up
LONGEST_RETRY = 300  # seconds

HostsOf = Callable[[str], Sequence[str]]
"""Returns the hosts that can be called for a model."""


class Busy(Unavailable):
    """As many calls as may wait for a model do so."""

    code = "busy"
    message = "Too many messages wait for the model already: try again later."


@dataclass(eq=False)
class Ticket:
    """A call of this process that wants a turn; `host` is where it has one.

    `position` is how many are before it, None until it is known that it has to wait. `avoided`
    hosts have failed it.
    """

    user_id: int
    model: str
    conversation: str
    reply_id: int | None = None
    queued_at: datetime = field(default_factory=timezone.now)
    avoided: frozenset[str] = frozenset()
    is_handed_over: bool = False  # another process goes on, in this turn or at this place
    on_move: Callable[[], None] = lambda: None  # called when the position changes
    row_id: int | None = None
    host: str = ""
    position: int | None = None

    def preferred(self, hosts: Sequence[str]) -> Sequence[str]:
        """Return the hosts that have not failed it, or all of them if each has."""
        return [host for host in hosts if host not in self.avoided] or hosts

    @property
    def row(self) -> Q:
        """Its row, if it has one."""
        return Q(reply_id=self.reply_id) if self.reply_id is not None else Q(pk=self.row_id or 0)


class Row(NamedTuple):
    """A call, as all processes see it; those of a reply have its status and its thread."""

    id: int
    user_id: int
    reply_id: int | None
    conversation: str
    model: str
    host: str
    owner: str
    status: str | None
    thread_id: int | None
    waits_since: datetime  # when it was queued, or its user's last turn ended: the later
    seen_at: datetime | None  # of the process
    now: datetime

    @property
    def is_running(self) -> bool:
        """Whether it has a turn."""
        return bool(self.host)

    @property
    def may_go_on(self) -> bool:
        """Whether it is a reply that another process could carry on."""
        return self.status == MessageStatus.GENERATING

    @property
    def is_wanted(self) -> bool:
        """Whether a turn is still of use: a reply may have been stopped meanwhile."""
        return self.reply_id is None or self.may_go_on

    @property
    def is_orphaned(self) -> bool:
        """Whether its process has died, or let go of it."""
        return self._is_silent_for(STALE_AFTER)

    @property
    def counts(self) -> bool:
        """Whether it runs, or can soon take a turn."""
        return self.is_running or (self.is_wanted and not self._is_silent_for(SKIPPED_AFTER))

    def _is_silent_for(self, limit: timedelta) -> bool:
        if self.owner == this_process():
            return False
        if not may_be_alive(self.owner):
            return True
        return self.seen_at is None or self.now - self.seen_at > limit


class Taken(NamedTuple):
    """What has become of a ticket: its row, with its host or its position."""

    row_id: int
    host: str
    position: int | None


class Pace:
    """The average length of this process's turns, in which recent ones count more."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def note(self, seconds: float) -> None:
        """Note that a turn has ended."""
        self._mean = seconds if self._mean is None else 0.9 * self._mean + 0.1 * seconds

    def seconds_until_next(self) -> int:
        """Return how long it takes until another of the calls that wait has its turn."""
        turns = max(1, settings.OLLAMA_PARALLEL * len(placement.hosts()))
        return min(LONGEST_RETRY, max(1, math.ceil((self._mean or 0.0) / turns)))


pace = Pace()


def enqueue(reply: Message, user_id: int) -> str:
    """Have a reply take its turn, or wait for it, where there is a limit. Raises `Busy`.

    Return the host, or nothing if it has to wait. To be called in the transaction that begins the
    reply: a turn that is free costs it no other.
    """
    if not settings.OLLAMA_PARALLEL:
        return ""
    sql.lock(LOCK)
    rows, conversation, host = read_rows(), str(reply.thread_id), None
    waiting = [row for row in rows if not row.is_running]
    if not any(row.counts for row in waiting):
        calls = Counter(row.host for row in rows if row.is_running)
        hosts = client.hosts_of(reply.model)
        host = placement.place(conversation, hosts, calls, settings.OLLAMA_PARALLEL)
    if host is None and len(waiting) >= settings.OLLAMA_QUEUE_MAX:
        raise _busy()
    Turn.objects.create(
        user_id=user_id,
        reply_id=reply.pk,
        conversation=conversation,
        model=reply.model,
        host=host or "",
        owner=this_process(),
        queued_at=timezone.now(),
    )
    return host or ""


def require_room() -> None:
    """Raise `Busy` where no further call may wait."""
    if settings.OLLAMA_PARALLEL and Turn.objects.filter(host="").count() >= (
        settings.OLLAMA_QUEUE_MAX
    ):
        raise _busy()


def _busy() -> Busy:
    return Busy(headers={"Retry-After": str(pace.seconds_until_next())})


def take(
    tickets: Sequence[Ticket], ended: Sequence[Ticket], others: Sequence[Ticket], hosts_of: HostsOf
) -> dict[Ticket, Taken]:
    """Take turns for those of the waiting tickets that come next, and return what each has now.

    `ended` no longer want or need theirs; `others` of this process have their turns.
    """
    with transaction.atomic():
        sql.lock(LOCK)
        for ticket in ended:
            own = Turn.objects.filter(ticket.row, owner=this_process())
            own.update(owner=NOBODY) if ticket.is_handed_over else own.delete()
        had_turns = {ticket.user_id for ticket in ended if ticket.host}
        if had_turns:
            Turn.objects.filter(user_id__in=had_turns, host="").update(passed_at=timezone.now())
        rows = _rows_with(tickets)
        rows = _without_orphans(rows, [*tickets, *others])
        rows, mine = _adopted(rows, _rows_of(tickets, rows), hosts_of)
        order = in_fair_order(rows)
        loads = Counter(row.host for row in rows if row.is_running)

        def hosts_for(row: Row) -> Sequence[str]:
            hosts = hosts_of(row.model)
            return mine[row].preferred(hosts) if row in mine else hosts

        turns = assign(order, loads, hosts_for)
        for row, host in turns.items():
            if row in mine:
                Turn.objects.filter(pk=row.id).update(host=host)
    waiting = [row for row in order if not (row in turns and row in mine)]
    places = {row: number for number, row in enumerate(waiting)}
    return {
        ticket: Taken(row.id, row.host or turns.get(row, ""), places.get(row))
        for row, ticket in mine.items()
    }


def in_fair_order(rows: Iterable[Row]) -> list[Row]:
    """Return the calls that wait, the next first; `rows` has the oldest first.

    A user's calls are numbered from the number that run: the lowest number is next, and of several
    with the same the one that has waited longest since its user last had a turn.
    """
    rows = list(rows)
    numbers = Counter(row.user_id for row in rows if row.is_running)
    order: list[tuple[int, datetime, int, Row]] = []
    for age, row in enumerate(rows):
        if not row.is_running and row.counts:
            order.append((numbers[row.user_id], row.waits_since, age, row))
            numbers[row.user_id] += 1
    return [row for *_, row in sorted(order, key=lambda entry: entry[:3])]


def assign(
    order: Iterable[Row], calls: Mapping[str, int], hosts_for: Callable[[Row], Sequence[str]]
) -> dict[Row, str]:
    """Return which calls have their turns now, and at which hosts; `calls` run there already."""
    calls, turns = Counter(calls), {}
    for row in order:
        candidates = hosts_for(row)
        host = placement.place(row.conversation, candidates, calls, settings.OLLAMA_PARALLEL)
        if host:
            turns[row] = host
            calls[host] += 1
    return turns


def _rows_with(tickets: Sequence[Ticket]) -> list[Row]:
    """Return all rows, those of the tickets among them."""
    rows = read_rows()
    found = set(_rows_of(tickets, rows).values())
    without = [ticket for ticket in tickets if ticket not in found]
    for ticket in without:
        ticket.row_id = Turn.objects.create(
            user_id=ticket.user_id,
            reply_id=ticket.reply_id,
            conversation=ticket.conversation,
            model=ticket.model,
            owner=this_process(),
            queued_at=ticket.queued_at,
        ).pk
    return read_rows() if without else rows


def _without_orphans(rows: Sequence[Row], tickets: Sequence[Ticket]) -> list[Row]:
    """Delete the rows that nobody will come back to; return the others."""
    ids = {ticket.row_id for ticket in tickets}
    replies = {ticket.reply_id for ticket in tickets}

    def is_lost(row: Row) -> bool:
        if row.owner == this_process():  # of a call whose end could not be stored
            is_known = row.id in ids or (row.reply_id is not None and row.reply_id in replies)
            return not is_known and not row.may_go_on
        return row.is_orphaned and not row.may_go_on

    lost = [row.id for row in rows if is_lost(row)]
    Turn.objects.filter(pk__in=lost).delete()
    return [row for row in rows if row.id not in lost]


def _adopted(
    rows: Sequence[Row], mine: Mapping[Row, Ticket], hosts_of: HostsOf
) -> tuple[list[Row], dict[Row, Ticket]]:
    """Make this process the owner of rows of replies that it carries on.

    Where a call of the old process may still run, its row stays the old one's for now.
    """
    changed: dict[Row, Row] = {}
    for row, ticket in mine.items():
        host = row.host if row.host in hosts_of(row.model) else ""
        host = "" if host in ticket.avoided else host
        if row.owner != this_process() and row.is_orphaned:
            changed[row] = row._replace(owner=this_process(), host=host)
            Turn.objects.filter(pk=row.id).update(owner=this_process(), host=host)
    own = {changed.get(row, row): ticket for row, ticket in mine.items()}
    own = {row: ticket for row, ticket in own.items() if row.owner == this_process()}
    return [changed.get(row, row) for row in rows], own


def _rows_of(tickets: Iterable[Ticket], rows: Iterable[Row]) -> dict[Row, Ticket]:
    by_reply = {ticket.reply_id: ticket for ticket in tickets if ticket.reply_id is not None}
    by_id = {ticket.row_id: ticket for ticket in tickets if ticket.reply_id is None}
    found: dict[Row, Ticket] = {}
    for row in rows:
        ticket = by_id.get(row.id) if row.reply_id is None else by_reply.get(row.reply_id)
        if ticket:
            found[row] = ticket
    return found


def read_rows() -> list[Row]:
    """Return all rows, the oldest first."""
    return [Row(*row) for row in statements.turns()]

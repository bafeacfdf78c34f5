"""Whose turn it is: the order of the queue, and what becomes of the rows of dead processes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from chat.models import Message, MessageStatus, Turn, Worker
from chat.ollama.placement import place
from chat.replies import turns
from chat.replies.owner import HOST, NOBODY, this_process
from chat.replies.turns import Busy, Row, Ticket, assign, in_fair_order
from chat.tests.taking_over import orphan
from testing.people import create_user

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ELSEWHERE = "another-machine/1/0123abcd"
DEAD_HERE = f"{HOST}/4194305/0123abcd"  # more than Linux ever gives
GPUS = ("http://gpu-1", "http://gpu-2")


def row(number: int, user: int, host: str = "", **fields: object) -> Row:
    """Return a call of a user's that came as the so-manyeth."""
    since = NOW + timedelta(seconds=number)
    values = Row(
        number, user, None, str(number), "tiny", host, this_process(), None, None, since, NOW, NOW
    )
    return values._replace(**fields)  # type: ignore[arg-type]


def order(*rows: Row) -> list[int]:
    return [row.id for row in in_fair_order(rows)]


def test_the_oldest_is_next_where_nobody_has_more_than_others() -> None:
    assert order(row(1, 1), row(2, 2), row(3, 3)) == [1, 2, 3]


def test_who_has_fewer_running_is_before_who_has_more() -> None:
    assert order(row(1, 1, "gpu"), row(2, 1), row(3, 1), row(4, 2), row(5, 2)) == [4, 2, 5, 3]


def test_a_user_with_many_waits_as_if_each_were_another_round() -> None:
    greedy = [row(number, 1) for number in range(1, 5)]

    assert order(*greedy, row(5, 2), row(6, 3)) == [1, 5, 6, 2, 3, 4]


def test_who_has_just_had_a_turn_is_behind_who_has_waited_meanwhile() -> None:
    passed = row(1, 1, waits_since=NOW + timedelta(seconds=10))

    assert order(passed, row(2, 2)) == [2, 1]


def test_replies_that_were_stopped_and_processes_that_are_silent_hold_up_nobody() -> None:
    stopped = row(1, 1, reply_id=1, status=MessageStatus.STOPPED)
    silent = row(2, 1, owner=ELSEWHERE, seen_at=NOW - timedelta(seconds=5))
    unknown = row(3, 2, owner=ELSEWHERE, seen_at=None)
    dead = row(4, 3, owner=DEAD_HERE)

    assert order(stopped, silent, unknown, dead, row(5, 4, owner=ELSEWHERE)) == [5]


@pytest.fixture
def one_each(settings: Settings) -> None:
    settings.OLLAMA_PARALLEL = 1


def assigned(rows: Sequence[Row], *running: str, **models: Sequence[str]) -> dict[int, str]:
    calls = {host: running.count(host) for host in running}
    turns = assign(rows, calls, lambda row: models.get(row.model, GPUS))
    return {row.id: host for row, host in turns.items()}


def test_each_host_has_as_many_calls_as_it_may(one_each: None) -> None:
    rows = [row(number, number) for number in range(1, 4)]

    turns = assigned(rows)

    assert list(turns) == [1, 2]
    assert set(turns.values()) == set(GPUS)
    assert assigned(rows, GPUS[0]) == {1: GPUS[1]}
    assert assigned(rows, *GPUS) == {}


def test_who_wants_a_model_of_a_full_host_lets_others_go_first(one_each: None) -> None:
    rows = [row(1, 1, model="large"), row(2, 2, model="tiny")]

    assert assigned(rows, GPUS[0], large=GPUS[:1]) == {2: GPUS[1]}


def test_a_conversation_goes_to_the_same_host_also_when_another_goes() -> None:
    hosts = [f"http://gpu-{number}" for number in range(4)]
    homes = {str(number): place(str(number), hosts, {}, 0) for number in range(200)}

    assert {homes[str(number)] for number in range(200)} == set(hosts)
    for number, home in homes.items():
        assert place(number, hosts[::-1], {}, 0) == home
        if home != hosts[3]:
            assert place(number, hosts[:3], {}, 0) == home


def test_no_host_has_far_more_calls_than_its_share() -> None:
    calls = dict.fromkeys(GPUS, 0)
    for _ in range(100):
        host = place("the same", GPUS, calls, 0)
        assert host
        calls[host] += 1
        assert max(calls.values()) <= -(-1.25 * sum(calls.values()) // 2)

    assert place("the same", (), {}, 0) is None


class TestRows:
    """On both databases."""

    @pytest.fixture(autouse=True)
    def two_turns(self, each_database: None, settings: Settings) -> Iterator[None]:
        settings.OLLAMA_PARALLEL, settings.OLLAMA_HOST = 2, GPUS[0]
        Worker.objects.create(name=ELSEWHERE, seen_at=timezone.now())
        yield
        Worker.objects.all().delete()
        Turn.objects.all().delete()

    def take(
        self, *tickets: Ticket, ended: Sequence[Ticket] = (), others: Sequence[Ticket] = ()
    ) -> list[str]:
        taken = turns.take(tickets, ended, others, lambda model: GPUS[:1])
        for ticket, (row_id, host, position) in taken.items():
            ticket.row_id, ticket.host, ticket.position = row_id, host, position
        return [ticket.host for ticket in tickets]

    def test_turns_are_taken_until_there_are_no_more(self) -> None:
        first, second, third = (Ticket(user, "tiny", str(user)) for user in (1, 2, 3))

        assert self.take(first, second, third) == [GPUS[0], GPUS[0], ""]
        assert third.position == 0
        assert self.take(third, ended=[first], others=[second]) == [GPUS[0]]
        assert set(Turn.objects.values_list("user_id", flat=True)) == {2, 3}

    def test_a_turn_that_is_handed_over_stays_until_it_is_adopted(self) -> None:
        thread = create_user("ann").threads.create(model="tiny")
        message = orphan(thread, this_process(), 0)
        leaving = Ticket(1, "tiny", "1", message.pk)
        self.take(leaving)
        leaving.is_handed_over = True
        self.take(ended=[leaving])
        assert Turn.objects.get().owner == NOBODY

        assert self.take(Ticket(1, "tiny", "1", message.pk)) == [GPUS[0]]
        assert Turn.objects.get().owner == this_process()

    @pytest.mark.parametrize(
        ("owner", "silent_for", "is_kept"),
        [
            (ELSEWHERE, 0, True),
            (ELSEWHERE, 7, True),
            (ELSEWHERE, 9, False),
            (DEAD_HERE, 0, False),
            ("a-third-machine/1/0123abcd", 0, False),
        ],
    )
    def test_a_dead_process_loses_the_turns_of_what_is_stored_nowhere(
        self, owner: str, silent_for: float, is_kept: bool
    ) -> None:
        Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=silent_for))
        Turn.objects.create(user_id=1, model="tiny", owner=owner, host=GPUS[0])

        self.take()

        assert Turn.objects.exists() is is_kept

    @pytest.mark.parametrize("status", [MessageStatus.GENERATING, MessageStatus.INTERRUPTED])
    def test_the_turn_of_a_dead_process_s_reply_is_kept_for_who_carries_it_on(
        self, status: MessageStatus
    ) -> None:
        message = orphan(create_user("ann").threads.create(model="tiny"), this_process(), 0)
        Message.objects.filter(pk=message.pk).update(status=status)
        fields = {"user_id": 1, "model": "tiny", "owner": DEAD_HERE}
        Turn.objects.create(**fields, reply_id=message.pk, host=GPUS[0])

        self.take()

        assert Turn.objects.exists() is (status == MessageStatus.GENERATING)

    def test_a_turn_of_a_process_that_lives_is_not_adopted(self) -> None:
        message = orphan(create_user("ann").threads.create(model="tiny"), this_process(), 0)
        fields = {"user_id": 1, "model": "tiny", "owner": ELSEWHERE}
        Turn.objects.create(**fields, reply_id=message.pk, host=GPUS[0])

        assert self.take(Ticket(1, "tiny", "1", message.pk)) == [""]
        assert Turn.objects.get().owner == ELSEWHERE

    def test_what_this_process_no_longer_knows_of_is_deleted(self) -> None:
        Turn.objects.create(user_id=1, model="tiny", owner=this_process(), host=GPUS[0])

        self.take()

        assert not Turn.objects.exists()

    def test_a_full_queue_is_refused_for_as_long_as_it_takes_to_have_room(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.OLLAMA_QUEUE_MAX = 2
        monkeypatch.setattr(turns, "pace", pace := turns.Pace())
        turns.require_room()
        for _ in range(2):
            Turn.objects.create(user_id=1, model="tiny", owner=this_process())

        with pytest.raises(Busy) as refused:
            turns.require_room()
        assert refused.value.headers == {"Retry-After": "1"}

        pace.note(30)
        with pytest.raises(Busy) as refused:
            turns.require_room()
        assert refused.value.headers == {"Retry-After": "15"}  # two turns at once, of 30 s each

        settings.OLLAMA_PARALLEL = 0
        turns.require_room()

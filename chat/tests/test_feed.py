"""What tells everybody what happens to their threads: the reader of the log, and the hub."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from accounts.models import User
from chat.cleanup import delete_old_events
from chat.feed import hub as hub_module
from chat.feed import log, reader
from chat.feed.forms import server_sent
from chat.feed.hub import KEEP_ALIVE, Hub, Listener
from chat.feed.reader import LogReader, Notice
from chat.models import ThreadEvent
from chat.tests.in_process import until
from core.errors import Unavailable
from testing.people import create_user

Kind = ThreadEvent.Kind


def note(*ids: int, **fields: Any) -> None:
    """Store rows of the log with these ids."""
    ThreadEvent.objects.bulk_create(
        ThreadEvent(**{"pk": pk, "user_id": 1, "kind": Kind.DELETED, "thread_id": pk, **fields})
        for pk in ids
    )


def read(log_reader: LogReader) -> list[int]:
    return [row.pk for row in log_reader.read()]


@pytest.fixture
def log_is_empty(database: None) -> None:
    ThreadEvent.objects.all().delete()


@pytest.mark.usefixtures("log_is_empty")
class TestReader:
    def test_rows_are_read_once_in_the_order_of_their_ids(self) -> None:
        note(1, 2)
        log_reader = LogReader.at_the_end()
        assert log_reader.position == 2
        note(4, 3)

        assert read(log_reader) == [3, 4]
        assert read(log_reader) == []
        assert log_reader.position == 4

    def test_a_row_whose_transaction_ended_late_is_read_when_it_is_there(self) -> None:
        note(1)
        log_reader = LogReader.at_the_end()
        note(3, 4)
        assert read(log_reader) == [3, 4]
        assert log_reader.position == 1
        note(2, 5)

        assert read(log_reader) == [2, 5]
        assert log_reader.position == 5

    def test_one_that_was_late_before_the_first_was_read_is_read_too(self) -> None:
        note(1, 2, 4)
        log_reader = LogReader.at_the_end()
        assert log_reader.position == 2
        note(3)

        assert read(log_reader) == [3]

    def test_an_id_that_nobody_has_stored_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        note(1)
        log_reader = LogReader.at_the_end()
        note(3)
        read(log_reader)
        monkeypatch.setattr(reader, "GAP_SECONDS", 0.0)

        read(log_reader)

        assert log_reader.position == 3

    def test_many_rows_are_read_in_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "MOST_ROWS", 2)
        log_reader = LogReader.at_the_end()
        note(1, 2, 3)

        assert read(log_reader) == [1, 2]
        assert read(log_reader) == [3]

    def test_old_rows_are_deleted_but_for_the_newest(self) -> None:
        old = ThreadEvent.KEPT_FOR * 2
        note(1, 2, 3)
        for event in ThreadEvent.objects.all():
            ThreadEvent.objects.filter(pk=event.pk).update(created_at=event.created_at - old)

        assert delete_old_events(100) == 2

        assert ThreadEvent.objects.get().pk == 3
        note(4)
        assert delete_old_events(100) == 1
        assert delete_old_events(100) == 0
        assert ThreadEvent.objects.get().pk == 4


class TestListener:
    async def test_whoever_does_not_read_is_told_to_load_the_list_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_module, "MOST_PENDING", 2)
        listener = Listener()
        for number in range(1, 4):
            listener.tell([Notice("thread_deleted", {"id": number}, number, number)])

        assert await listener.next() == [Notice("reload", {}, 3, 3)]

    async def test_a_listener_hears_at_its_end_what_it_was_told_before(self) -> None:
        listener = Listener()
        listener.tell([Notice("thread_deleted", {"id": 1}, 1, 1)])
        listener.end()

        assert len(await listener.next()) == 1
        assert await listener.next() == []


@pytest.mark.usefixtures("log_is_empty")
class TestHub:
    @pytest_asyncio.fixture
    async def hub(self, database: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
        """The hub of a process that has just started, and reads often."""
        await ThreadEvent.objects.acreate(user_id=0, kind=Kind.MANY)
        hub = Hub()
        monkeypatch.setattr(hub_module, "POLL_SECONDS", 0.02)
        monkeypatch.setattr(log, "hub", hub)
        yield hub
        hub.close()
        await until(lambda: hub._task is None)
        await sync_to_async(connections.close_all)()

    @pytest.fixture
    def ann(self, database: None) -> User:
        return create_user("ann")

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Count the reads of the log."""
        reads: list[int] = []

        def read_for(*arguments: Any) -> Any:
            reads.append(1)
            return reader.read_for(*arguments)

        monkeypatch.setattr(hub_module, "read_for", read_for)
        return reads

    async def test_the_log_is_read_only_while_somebody_listens(
        self, hub: Hub, ann: User, reads: list[int]
    ) -> None:
        await asyncio.sleep(0.1)
        assert not reads
        notices = hub.listen(ann.pk, None)
        assert (await anext(notices)).type == "start"
        await until(lambda: len(reads) > 2)

        await notices.aclose()  # type: ignore[attr-defined]
        await until(lambda: hub._task is None)

        number = len(reads)
        await asyncio.sleep(0.1)
        assert len(reads) == number

    async def test_one_read_serves_all(
        self, hub: Hub, ann: User, reads: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_module, "POLL_SECONDS", 10)
        everybody = [hub.listen(ann.pk, None) for _ in range(20)]
        for notices in everybody:
            await anext(notices)

        await sync_to_async(log.threads_deleted)([(7, ann.pk)])

        told = [await anext(notices) for notices in everybody]
        assert {notice.data["id"] for notice in told} == {7}
        assert len(reads) == 1
        for notices in everybody:
            await notices.aclose()  # type: ignore[attr-defined]

    async def test_a_database_that_is_away_for_a_while_ends_nothing(
        self, hub: Hub, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures: list[Exception] = [OperationalError("away"), ValueError("a mistake of ours")]

        def read_for(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return reader.read_for(*arguments)

        monkeypatch.setattr(hub_module, "read_for", read_for)
        notices = hub.listen(ann.pk, None)
        await anext(notices)
        await until(lambda: not failures)

        await sync_to_async(log.threads_deleted)([(7, ann.pk)])

        assert (await anext(notices)).data == {"id": 7}
        await notices.aclose()  # type: ignore[attr-defined]

    async def test_a_stream_in_which_nothing_happens_is_kept_open(
        self, hub: Hub, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub_module, "KEEP_ALIVE_SECONDS", 0.01)
        notices = hub.listen(ann.pk, None)
        start = await anext(notices)

        notice = await anext(notices)

        assert notice.type == KEEP_ALIVE
        assert server_sent(notice) == f": still here\nid: {start.position}\n\n".encode()
        await notices.aclose()  # type: ignore[attr-defined]

    async def test_what_happens_while_somebody_comes_back_is_told_once(
        self, hub: Hub, ann: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missed_since(*arguments: Any) -> Any:
            log.threads_deleted([(8, ann.pk)])
            return reader.missed_since(*arguments)

        first = hub.listen(ann.pk, None)
        start = await anext(first)
        await sync_to_async(log.threads_deleted)([(7, ann.pk)])
        monkeypatch.setattr(hub_module, "missed_since", missed_since)
        again = hub.listen(ann.pk, start.position)
        await anext(again)

        told = [(await anext(again)).data["id"] for _ in range(2)]
        await until(lambda: hub._reader and hub._reader.position > (start.position or 0) + 1)
        await sync_to_async(log.threads_deleted)([(9, ann.pk)])
        told.append((await anext(again)).data["id"])

        assert told == [7, 8, 9]
        for notices in (first, again):
            await notices.aclose()  # type: ignore[attr-defined]

    async def test_a_process_that_ends_takes_nobody(self, hub: Hub, ann: User) -> None:
        hub.close()

        with pytest.raises(Unavailable):
            await anext(hub.listen(ann.pk, None))

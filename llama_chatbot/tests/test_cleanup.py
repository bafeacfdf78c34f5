"""When rows are deleted in the background, by whom, and how long others wait for it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest

from accounts.models import Session, User
from chat.models import Message, Thread
from core import cleanup
from core.cleanup import Cleaner
from core.locks import advisory_lock_key
from testing.environment import ENVIRONMENT
from testing.people import PASSWORD, Caller, create_session, create_user
from testing.processes import ROOT, PostgreSQL, Server, StartServer
from testing.waiting import wait_until


def run_command(environment: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", "cleanup"]
    return subprocess.run(
        command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True
    ).stdout


def test_the_command_deletes_what_is_due(
    server_environment: dict[str, str], database: None
) -> None:
    ann = create_user("ann")
    create_session(ann)
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")
    with_messages = Thread.objects.create(user=ann, model="m")
    Message.objects.create(thread=with_messages, sender="user", content="x")
    Thread.objects.update(deleted_at="2020-01-01T00:00:00Z")

    assert "rows deleted" in run_command(server_environment)

    assert not Session.objects.exists()
    assert not Thread.all_objects.exists()
    assert User.objects.get() == ann


def test_one_process_at_a_time_deletes(server_environment: dict[str, str], rows_stay: None) -> None:
    assert "Another process" in run_command(server_environment)


def test_a_killed_process_leaves_the_next_one_its_work(
    server_environment: dict[str, str], database: None
) -> None:
    create_user("ann").delete()
    hold = """if True:
        import django, time
        django.setup()
        from django.db import connection
        from core.cleanup import LOCK
        from core.locks import process_lock
        while True:
            with process_lock(LOCK, connection) as is_held:
                if is_held:
                    print("held", flush=True)
                    time.sleep(60)
    """
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(
        command, cwd=ROOT, env=server_environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert "Another process" in run_command(server_environment)
        process.send_signal(signal.SIGKILL)

    wait_until(lambda: "rows deleted" in run_command(server_environment))
    assert not User.all_objects.exists()


def test_a_server_finishes_at_its_start_what_another_left(
    start_server: StartServer, database: None
) -> None:
    create_user("ann").delete()
    assert User.all_objects.exists()

    start_server()

    wait_until(lambda: not User.all_objects.exists())


def test_a_server_deletes_once_an_hour_what_has_expired(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    monkeypatch.setattr(cleanup, "INTERVAL_SECONDS", 0.05)
    cleaner = Cleaner([lambda limit: runs.append(limit) or 0])  # type: ignore[func-returns-value]

    cleaner.start()
    wait_until(lambda: len(runs) > 3)
    cleaner.stop()


def test_a_step_that_takes_long_gets_fewer_rows(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def slow(limit: int) -> int:
        limits.append(limit)
        time.sleep(limit / 1_000)  # 1 ms a row
        return len(limits) < 5

    wait_until(lambda: cleanup.run([slow]) is not None)  # while no other process runs them

    assert limits[:2] == [100, 50]


def test_others_write_while_rows_are_deleted(database: None, server: Server) -> None:
    ann, bob = Caller(server.url, create_user("ann")), Caller(server.url, create_user("bob"))
    thread = ann.thread()
    for _ in range(4):
        Message.objects.bulk_create(
            Message(thread=thread, sender="user", content="x" * 500) for _ in range(5_000)
        )
    waits = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert bob.post("/chat/threads/new/").status_code == 201
            waits.append(time.monotonic() - began)

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        ann.delete(f"/chat/threads/{thread.pk}/delete/")
        try:
            wait_until(lambda: not Message.objects.exists(), 60)
        finally:
            done.set()
        writer.result()

    waits.sort()
    assert waits[int(len(waits) * 0.95)] < 0.3  # the longest may be the machine's


# --- PostgreSQL ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of these tests' own."""
    if PostgreSQL.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgreSQL() as postgresql:
        yield postgresql


@pytest.fixture(scope="module")
def postgresql_environment(postgresql: PostgreSQL) -> dict[str, str]:
    """The settings of a server on it, with its tables."""
    environment = {**ENVIRONMENT, "DEBUG": "true", "DATABASE_URL": postgresql.url}
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, check=True, cwd=ROOT, env=environment)
    return environment


def test_on_postgresql_a_crash_and_its_lock_leave_nothing_behind(
    postgresql: PostgreSQL, postgresql_environment: dict[str, str], tmp_path: Path
) -> None:
    with (
        Server(tmp_path, postgresql_environment) as server,
        httpx.Client(base_url=server.url, timeout=20) as ann,
    ):
        account = {"username": "ann", "email": "ann@example.com", "password": PASSWORD}
        ann.post("/auth/register/", json=account)
        ann.post("/auth/login/", json={"username": "ann", "password": PASSWORD})
        thread = ann.post("/chat/threads/new/").json()["thread_id"]
        with closing(psycopg.connect(postgresql.url, autocommit=True)) as database:
            database.execute(
                "INSERT INTO chat_message (thread_id, parent_id, sender, content, status,"
                " created_at, thinking, model, error_code, context_key, owner)"
                " SELECT %s, CASE WHEN i > 1 THEN i - 1 END, 'user', 'x', 'complete', now(), '',"
                " '', '', '', '' FROM generate_series(1, 30000) i",
                [thread],
            )

            assert ann.delete("/auth/delete/").status_code == 200
            server.kill()
            left = database.execute("SELECT count(*) FROM chat_message").fetchone()
            assert left
            assert left[0] > 0

            key = advisory_lock_key(cleanup.LOCK)
            database.execute("SELECT pg_advisory_lock(%s)", [key])
            assert "Another process" in run_command(postgresql_environment)
        run_command(postgresql_environment)  # the lock is gone with its connection

    with closing(psycopg.connect(postgresql.url)) as database:
        for table in ("chat_message", "chat_thread", "accounts_session", "accounts_user"):
            rows = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert rows == (0,), table


def test_only_messages_refer_to_threads_so_that_an_empty_thread_goes_in_no_time() -> None:
    assert {relation.related_model for relation in Thread._meta.related_objects} == {Message}

"""The server behind PgBouncer, where each transaction may run in another session of PostgreSQL."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import psycopg
import pytest
from django.db import connection, connections

from accounts.models import User
from chat.models import Message, Thread
from chat.tests.queueing import ONE, waiting
from core.cleanup import LOCK
from core.locks import process_lock
from testing.environment import ENVIRONMENT
from testing.fixtures.databases import default_database, empty
from testing.people import PASSWORD, Caller, create_user, log_in
from testing.processes import ROOT, Memcached, PgBouncer, PostgreSQL, Server
from testing.processes.pgbouncer import SESSIONS
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, following, sending, text_of
from testing.waiting import wait_until

CALLERS = 20


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of these tests' own."""
    if PostgreSQL.programs() is None or not PgBouncer.available():
        pytest.skip("PostgreSQL or PgBouncer is not installed")
    with PostgreSQL() as postgresql:
        yield postgresql


@pytest.fixture(scope="module")
def environment(postgresql: PostgreSQL) -> Iterator[dict[str, str]]:
    """The settings of a server that reaches it by PgBouncer."""
    with PgBouncer(postgresql) as pgbouncer:
        yield {**ENVIRONMENT, "DATABASE_URL": pgbouncer.url}


@pytest.fixture(scope="module")
def migrations(environment: dict[str, str]) -> list[str]:
    """What two commands printed that migrated the empty database at the same time."""
    command = [sys.executable, "manage.py", "migrate"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs


@pytest.fixture(scope="module")
def servers(
    migrations: list[str],
    environment: dict[str, str],
    memcached: Memcached,
    running_ollama: ScriptedOllama,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Server]]:
    """Two processes, which have one reply written at a time."""
    settings = {"CACHE_LOCATION": memcached.location, "OLLAMA_HOST": running_ollama.url, **ONE}
    directory = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield [
            stack.enter_context(Server(directory, {**environment, **settings})) for _ in range(2)
        ]


@pytest.fixture
def users(
    prepared_database: None,
    servers: list[Server],
    environment: dict[str, str],
    ollama: ScriptedOllama,
) -> Iterator[None]:
    """This thread uses the same database by the same way, and leaves no users there."""
    with default_database(environment["DATABASE_URL"]):
        connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
        yield
        empty()


@pytest.fixture
def ann(users: None, servers: list[Server]) -> Iterator[Caller]:
    """Somebody who has logged in by the API."""
    user = create_user("ann")
    with closing(log_in(servers[0].url, "ann", PASSWORD)) as ann:
        ann.user = user
        yield ann


@pytest.fixture
def there(ann: Caller, servers: list[Server]) -> Iterator[Caller]:
    """Ann, by way of the other process."""
    with Caller(servers[1].url, ann.user) as there:
        yield there


def run_command(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        check=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.stdout


def ask_postgresql(postgresql: PostgreSQL, query: str) -> list[tuple[object, ...]]:
    """Ask without PgBouncer."""
    with psycopg.connect(postgresql.url) as direct:
        return direct.execute(query.encode()).fetchall()


def test_of_two_at_once_one_migrates_and_the_other_finds_it_done(migrations: list[str]) -> None:
    assert sum("Applying chat.0001_initial... OK" in output for output in migrations) == 1
    assert sum("No migrations to apply" in output for output in migrations) == 1


def test_a_message_is_streamed_and_both_are_kept(ann: Caller) -> None:
    thread = ann.thread()

    assert ann.say(thread).text == "You said: Hello"

    messages = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert [message["content"] for message in messages] == ["Hello", "You said: Hello"]


def test_a_reply_is_followed_and_stopped_in_another_process(
    ann: Caller, there: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(["Hel", "lo"], hold_after=1)

    with sending(ann, thread) as reply, following(there, thread) as reading:
        reply.until("Hel")
        reading.until("Hel")
        stopped = there.post(f"/chat/threads/{thread.pk}/stop/").json()
        events = events_of(reading.to_the_end())

    assert stopped == {"status": "stopped"}
    assert text_of(events) == "Hel"
    assert reply_of(thread).status == "stopped"


def test_a_reply_waits_for_its_turn(ann: Caller, there: Caller, ollama: ScriptedOllama) -> None:
    ollama.scripts.append(Script(["Hel", "lo"], hold_after=1))
    with sending(ann, ann.thread()) as first:
        first.until("Hel")
        with waiting(there, there.thread(), 0) as second:
            ollama.release()
            assert text_of(events_of(first.to_the_end())) == "Hello"
            assert text_of(events_of(second.to_the_end())) == "You said: Hello"


def test_a_message_is_edited_and_found(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Where do llamas live?")

    edited = ann.post(
        f"/chat/response/{thread.pk}/", json={"message": "And alpacas?", "parent_id": None}
    )

    assert edited.json()["response"] == "You said: And alpacas?"
    found = ann.get("/chat/search/", params={"q": "alpacas"}).json()["results"]
    assert {result["sender"] for result in found} == {"user", "bot"}


def test_an_account_is_exported_as_a_whole(ann: Caller) -> None:
    """With tables that Django would read by cursors, one transaction for each hundred rows."""
    for number in range(3):
        url = f"/chat/response/{ann.thread().pk}/"
        headers = {"Idempotency-Key": str(number)}
        assert ann.post(url, json={"message": "Hello"}, headers=headers).status_code == 200

    answer = ann.get("/auth/export/")

    lines = [json.loads(line) for line in answer.text.splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds.count("idempotency_key") == kinds.count("thread") == 3
    assert kinds.count("usage") == 1
    assert lines[-1] == {"type": "end", "threads": 3, "messages": 6}


def test_a_lock_is_held_by_one_and_released(
    ann: Caller, environment: dict[str, str], postgresql: PostgreSQL
) -> None:
    with ExitStack() as stack:
        wait_until(lambda: stack.enter_context(process_lock(LOCK, connection)))
        # Its process goes on using the database, in whichever session.
        for _ in range(2 * SESSIONS):
            assert User.objects.count() == 1
        assert "Another process" in run_command(environment, "cleanup")

    wait_until(lambda: "rows deleted" in run_command(environment, "cleanup"))
    locks = "SELECT * FROM pg_locks WHERE locktype = 'advisory'"
    wait_until(lambda: not ask_postgresql(postgresql, locks))


def test_rows_of_what_was_deleted_go(ann: Caller) -> None:
    ann.say(ann.thread())

    assert ann.delete("/chat/threads/delete/").status_code == 200

    wait_until(lambda: not Thread.all_objects.exists() and not Message.objects.exists())


def test_many_calls_at_once_share_a_few_sessions(ann: Caller, postgresql: PostgreSQL) -> None:
    def call(_: int) -> int:
        return httpx.get(
            ann.base_url.join("/chat/threads/"), headers=ann.headers, timeout=30
        ).status_code

    with ThreadPoolExecutor(CALLERS) as pool:
        assert set(pool.map(call, range(4 * CALLERS))) == {200}

    sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    sessions += " AND backend_type = 'client backend'"
    ((number,),) = ask_postgresql(postgresql, sessions)
    assert number in range(1, SESSIONS + 1)


def test_sessions_have_time_outs(users: None) -> None:
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        for _ in range(2 * SESSIONS):
            with connection.cursor() as cursor:
                cursor.execute(f"SHOW {name}")
                assert cursor.fetchone() == ("30s",)


def test_calls_fail_fast_while_postgresql_is_away_and_a_reply_goes_on(
    ann: Caller, postgresql: PostgreSQL, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    with sending(ann, thread) as reply:
        reply.until("Hel")
        connections.close_all()
        postgresql.kill()
        try:
            for _ in range(3):
                began = time.monotonic()
                assert ann.get("/chat/threads/").status_code == 503
                assert time.monotonic() - began < 9
        finally:
            postgresql.start()
        ollama.release()
        assert text_of(events_of(reply.to_the_end())) == "Hello"

    wait_until(lambda: ann.get("/chat/threads/").status_code == 200, 15)
    assert wait_for_status(thread, "complete", 15).content == "Hello"

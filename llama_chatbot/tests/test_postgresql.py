"""The main path on PostgreSQL, which takes its locks and its constraints otherwise than SQLite."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from testing.environment import ENVIRONMENT
from testing.people import PASSWORD
from testing.processes import ROOT, Memcached, PostgreSQL, Server
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of these tests' own."""
    if PostgreSQL.programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgreSQL() as postgresql:
        yield postgresql


@pytest.fixture(scope="module")
def postgresql_server(
    postgresql: PostgreSQL,
    memcached: Memcached,
    running_ollama: ScriptedOllama,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Two workers on it."""
    environment = {
        **ENVIRONMENT,
        "DEBUG": "true",  # so that a client sends the cookie over plain HTTP
        "DATABASE_URL": postgresql.url,
        "CACHE_LOCATION": memcached.location,
        "OLLAMA_HOST": running_ollama.url,
    }
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, check=True, cwd=ROOT, env=environment)
    directory: Path = tmp_path_factory.mktemp("postgresql-server")
    with Server(directory, environment, workers=2) as server:
        yield server


@pytest.fixture
def ann(
    postgresql_server: Server, ollama: ScriptedOllama, request: pytest.FixtureRequest
) -> Iterator[httpx.Client]:
    """Somebody new, logged in by the API alone."""
    name = request.node.name[:150].replace("[", "-").replace("]", "")
    with httpx.Client(base_url=postgresql_server.url, timeout=20) as ann:
        account = {"username": name, "email": f"{name[:60]}@example.com", "password": PASSWORD}
        assert ann.post("/auth/register/", json=account).status_code == 201
        assert ann.post("/auth/login/", json=account | {"email": None}).status_code == 400
        login = {"username": name.upper(), "password": PASSWORD}
        assert ann.post("/auth/login/", json=login).status_code == 200
        yield ann
        ann.request("DELETE", "/auth/delete/")


def begin_thread(ann: httpx.Client) -> int:
    return int(ann.post("/chat/threads/new/").json()["thread_id"])


def test_a_message_is_answered_and_both_are_kept(ann: httpx.Client) -> None:
    thread = begin_thread(ann)

    answer = ann.post(f"/chat/streaming-response/{thread}/", json={"message": "Hello"})

    assert answer.text == "You said: Hello"
    messages = ann.get(f"/chat/threads/{thread}/messages/").json()["messages"]
    assert [(m["sender"], m["content"], m["status"]) for m in messages] == [
        ("user", "Hello", "complete"),
        ("bot", "You said: Hello", "complete"),
    ]


def test_of_two_messages_at_the_same_moment_one_is_answered(
    ann: httpx.Client, ollama: ScriptedOllama
) -> None:
    thread = begin_thread(ann)
    ollama.script = Script(["Hel", "lo"], hold_after=1)

    def send(message: str) -> httpx.Response:
        return ann.post(f"/chat/response/{thread}/", json={"message": message})

    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(send, message) for message in ("one", "two")]
        wait_until(lambda: any(answer.done() for answer in answers), 10)
        ollama.wait_for_open(1)
        ollama.release()
        statuses = sorted(answer.result().status_code for answer in answers)

    assert statuses == [200, 409]
    assert len(ollama.chats) == 1


def test_a_repeated_send_at_the_same_moment_is_answered_once(
    ann: httpx.Client, ollama: ScriptedOllama
) -> None:
    thread = begin_thread(ann)

    def send(_: int) -> str:
        url, headers = f"/chat/response/{thread}/", {"Idempotency-Key": "once"}
        return str(ann.post(url, json={"message": "Hello"}, headers=headers).json()["response"])

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(send, range(4)))

    assert answers == ["You said: Hello"] * 4
    assert len(ollama.chats) == 1


def test_a_running_reply_is_stopped_by_whichever_worker_is_asked(
    ann: httpx.Client, postgresql_server: Server, ollama: ScriptedOllama
) -> None:
    thread = begin_thread(ann)
    ollama.script = Script(["Hel", "lo"], hold_after=1)
    url = f"/chat/streaming-response/{thread}/"
    with ann.stream("POST", url, json={"message": "Hi"}) as reply:
        assert next(reply.iter_text()) == "Hel"

        # A connection of its own each, so that both workers are asked.
        cookies = dict(ann.cookies)
        stops = [
            httpx.post(f"{postgresql_server.url}/chat/threads/{thread}/stop/", cookies=cookies)
            for _ in range(4)
        ]

    assert [stop.json()["status"] for stop in stops] == ["stopped", "idle", "idle", "idle"]
    wait_until(lambda: ollama.open == 0, message="Ollama is still asked")
    messages = ann.get(f"/chat/threads/{thread}/messages/").json()["messages"]
    assert (messages[1]["content"], messages[1]["status"]) == ("Hel", "stopped")


def test_names_and_addresses_are_unique_whatever_their_case(ann: httpx.Client) -> None:
    user = ann.get("/auth/status/").json()["user"]
    account = {"username": user["username"].title(), "email": user["email"].upper()}

    answer = ann.post("/auth/register/", json={**account, "password": PASSWORD})

    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == {"username", "email"}


def test_lists_are_read_page_by_page(ann: httpx.Client) -> None:
    threads = [begin_thread(ann) for _ in range(3)]

    first = ann.get("/chat/threads/", params={"limit": 2}).json()
    second = ann.get("/chat/threads/", params={"limit": 2, "cursor": first["next"]}).json()

    assert [thread["id"] for thread in first["threads"] + second["threads"]] == threads[::-1]
    assert second["next"] is None


@pytest.mark.parametrize("is_keyed", [False, True], ids=["plain", "keyed"])
def test_an_account_is_deleted_while_its_owner_goes_on_writing(
    ann: httpx.Client, is_keyed: bool
) -> None:
    threads = [begin_thread(ann) for _ in range(20)]

    def send(thread: int) -> httpx.Response:
        headers = {"Idempotency-Key": str(thread)} if is_keyed else {}
        url = f"/chat/response/{thread}/"
        return ann.post(url, json={"message": "Hello"}, headers=headers)

    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(send, thread) for thread in threads[:6]]
        answers += [pool.submit(ann.post, "/chat/threads/new/") for _ in range(12)]
        deletion = pool.submit(ann.delete, "/auth/delete/")
        answers += [pool.submit(send, thread) for thread in threads[6:]]

    assert deletion.result().status_code == 200
    assert {answer.result().status_code for answer in answers} <= {200, 201, 401, 404}
    assert ann.get("/auth/sessions/").status_code == 401


@pytest.mark.parametrize(
    "path", ["/chat/threads/{}/delete/", "/chat/threads/delete/"], ids=["one", "all"]
)
def test_threads_are_deleted_while_messages_are_sent_to_them(ann: httpx.Client, path: str) -> None:
    threads = [begin_thread(ann) for _ in range(12)]

    def send(thread: int) -> httpx.Response:
        return ann.post(f"/chat/response/{thread}/", json={"message": "Hello"})

    with ThreadPoolExecutor(40) as pool:
        sends = [pool.submit(send, thread) for thread in threads]
        deletes = [pool.submit(ann.delete, path.format(thread)) for thread in threads]

    assert {answer.result().status_code for answer in sends} <= {200, 404}
    assert {answer.result().status_code for answer in deletes} == {200}
    assert ann.get("/chat/threads/").json()["threads"] == []


def test_messages_sent_while_others_fail_are_answered_or_refused(
    ann: httpx.Client, ollama: ScriptedOllama
) -> None:
    thread = begin_thread(ann)
    ollama.script = Script(status=500)

    def send(_: int) -> int:
        return ann.post(f"/chat/response/{thread}/", json={"message": "Hello"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(120))) <= {409, 503}


def test_a_cookie_with_nul_is_nobodys(postgresql_server: Server) -> None:
    cookie = {"Cookie": r'sessionid="\000aaaaaaaaaaa"'}
    answer = httpx.get(f"{postgresql_server.url}/auth/status/", headers=cookie)

    assert answer.json()["authenticated"] is False


def test_calls_fail_fast_while_postgresql_is_away_and_go_on_when_it_is_back(
    ann: httpx.Client, postgresql: PostgreSQL
) -> None:
    def is_back() -> bool:
        """Ask on new connections, which both workers take."""
        return all(
            httpx.get(
                ann.base_url.join("/chat/threads/"), cookies=ann.cookies, timeout=20
            ).status_code
            == 200
            for _ in range(10)
        )

    postgresql.kill()
    try:
        began = time.monotonic()
        while time.monotonic() - began < 12:
            asked = time.monotonic()
            assert ann.get("/chat/threads/").status_code == 503
            assert time.monotonic() - asked < 15
    finally:
        postgresql.start()

    wait_until(is_back, timeout=15)

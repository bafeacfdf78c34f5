"""Tabs that edit, regenerate, delete and switch at the same moment, on two workers.

On SQLite and on PostgreSQL, and while the server is killed.
"""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event

import httpx
import pytest
from django.db import connection

from chat.models import Message, MessageStatus, Sender, Thread
from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import Memcached, Server
from testing.races import at_once
from testing.scripted_ollama import Script, ScriptedOllama
from testing.trees import grow, require_tree
from testing.waiting import wait_until

pytestmark = pytest.mark.usefixtures("each_database")

TABS = 6
CALLS = 25  # of each tab

# What a call may be answered: it is done, or somebody was faster.
DONE, GONE, BUSY, PARENT_GONE = {200, 201}, {404}, {409}, {400}


@pytest.fixture
def workers(
    each_database: None,
    server_environment: dict[str, str],
    memcached: Memcached,
    ollama: ScriptedOllama,
    tmp_path: Path,
) -> Iterator[Server]:
    """A server with two workers on the database of this run."""
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor == "postgresql":
        url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    settings = {"DATABASE_URL": url, "CACHE_LOCATION": memcached.location}
    with Server(tmp_path, server_environment | settings, workers=2) as server:
        yield server


@pytest.fixture
def tabs(workers: Server) -> Iterator[list[Caller]]:
    """Several tabs of Ann's, each with a connection of its own: to which worker is chance."""
    user = create_user("ann")
    with ExitStack() as stack:
        tabs = [stack.enter_context(Caller(workers.url, user)) for _ in range(TABS)]
        yield tabs


@pytest.fixture
def thread(tabs: list[Caller]) -> Thread:
    """A thread of Ann's that has some branches."""
    thread = tabs[0].thread()
    tree = grow(thread, [None, 0, 1, 2, 0, 1, 5, 6, 7, None, 9])
    Thread.objects.filter(pk=thread.pk).update(current_message=tree[-1].pk)
    return thread


class Tab:
    """Somebody who does all that can be done with a thread's branches, in no order."""

    def __init__(self, caller: Caller, thread: Thread, seed: int) -> None:
        self.caller = caller
        self.thread = thread.pk
        self.dice = random.Random(seed)  # noqa: S311
        self.known: dict[int, int | None] = {}  # the parents of messages
        self.answers: list[tuple[str, httpx.Response]] = []

    def look(self) -> None:
        """Read a branch, and remember its messages with their siblings."""
        answer = self.caller.get(f"/chat/threads/{self.thread}/messages/")
        self.answers.append(("look", answer))
        for message in answer.json().get("messages", []):
            for sibling in message["sibling_ids"]:
                self.known[sibling] = message["parent_id"]

    def do_something(self) -> None:
        """Make one call."""
        self.look()
        names = ["send", "edit", "regenerate", "switch", "fork", "delete"]
        (name,) = self.dice.choices(names, [3, 3, 3, 3, 1, 1])
        message = self.dice.choice(sorted(self.known)) if self.known else 2**62
        path, sends = f"/chat/threads/{self.thread}", f"/chat/response/{self.thread}/"
        body = {"message_id": message}
        edited = {"message": "Hello?", "parent_id": self.known.get(message)}
        calls: dict[str, tuple[str, str, object]] = {
            "send": ("POST", sends, {"message": "Hello"}),
            "edit": ("POST", sends, edited),
            "regenerate": ("POST", f"{path}/regenerate/", body),
            "switch": ("PUT", f"{path}/branch/", body),
            "fork": ("POST", f"{path}/fork/", body),
            "delete": ("DELETE", f"{path}/messages/{message}/", None),
        }
        method, url, json = calls[name]
        self.answers.append((name, self.caller.request(method, url, json=json)))

    def use(self, calls: int) -> None:
        """Make so many calls."""
        for _ in range(calls):
            self.do_something()


def nothing_runs() -> bool:
    return not Message.objects.filter(status=MessageStatus.GENERATING).exists()


def require_order() -> None:
    """Wait until no reply is being written, and look at all threads."""
    wait_until(nothing_runs, 30)
    for thread in Thread.objects.all():
        require_tree(thread)


def test_tabs_that_do_everything_at_once_leave_trees(
    tabs: list[Caller], thread: Thread, ollama: ScriptedOllama, workers: Server
) -> None:
    ollama.script = Script(["Well"], first_token_after=0.01)
    users = [Tab(caller, thread, seed) for seed, caller in enumerate(tabs)]

    with ThreadPoolExecutor(TABS) as pool:
        list(pool.map(lambda user: user.use(CALLS), users))

    require_order()
    answers = [answer for user in users for answer in user.answers]
    for name, answer in answers:
        expected = DONE | GONE | BUSY | (PARENT_GONE if name == "edit" else set())
        assert answer.status_code in expected, (name, answer.text)
    done = Counter(name for name, answer in answers if answer.status_code in DONE)
    assert done.keys() == {"look", "send", "edit", "regenerate", "switch", "fork", "delete"}
    assert "Traceback" not in workers.log()


def test_a_server_that_is_killed_at_any_moment_leaves_trees(
    tabs: list[Caller], thread: Thread, ollama: ScriptedOllama, workers: Server
) -> None:
    ollama.script = Script(["Well", ", ", "no"], interval=0.02)
    is_over = Event()

    def use(seed: int) -> int:
        """Go on until the end, whatever happens to the server."""
        calls = 0
        while not is_over.is_set():
            with suppress(httpx.TransportError), Caller(workers.url) as caller:
                caller.headers["Cookie"] = tabs[seed].headers["Cookie"]
                user = Tab(caller, thread, seed + 100 * calls)
                while not is_over.is_set():
                    user.do_something()
                    calls += 1
        return calls

    with ThreadPoolExecutor(TABS) as pool:
        calls = [pool.submit(use, seed) for seed in range(TABS)]
        dice = random.Random(0)  # noqa: S311
        for _ in range(3):
            is_over.wait(0.5 + dice.random())
            workers.kill()
            workers.start()
        is_over.wait(1)
        is_over.set()
        assert sum(call.result(timeout=60) for call in calls) > 20

    require_order()


def test_of_two_regenerations_at_the_same_moment_one_is_refused(
    tabs: list[Caller], thread: Thread, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["We", "ll"], hold_after=1)
    url = f"/chat/threads/{thread.pk}/regenerate/"

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(tab.post, url) for tab in tabs[:2]]
        wait_until(lambda: any(answer.done() for answer in answers), 20)
        ollama.release()
        refused, done = sorted((answer.result() for answer in answers), key=lambda a: a.is_success)

    assert done.text == "Well"
    assert refusal(refused) == (409, "reply_in_progress")
    require_order()


def test_a_parent_is_deleted_or_answered_but_not_both(
    tabs: list[Caller], thread: Thread, ollama: ScriptedOllama
) -> None:
    for _ in range(8):
        parent = grow(thread, [None, 0])[1].pk
        body = {"message": "And?", "parent_id": parent}
        edit = partial(tabs[0].post, f"/chat/response/{thread.pk}/", json=body)
        delete = partial(tabs[1].delete, f"/chat/threads/{thread.pk}/messages/{parent}/")

        statuses = tuple(answer.status_code for answer in at_once(edit, delete))

        # The deletion comes first, while the reply is written, or after it, which deletes both.
        assert statuses in {(200, 400), (200, 409), (200, 200), (200, 404)}
        is_left = Message.objects.filter(pk=parent).exists()
        is_followed = Message.objects.filter(parent=parent, sender=Sender.USER).exists()
        assert is_left == is_followed
    require_order()


def test_two_tabs_that_switch_leave_one_of_their_branches(
    tabs: list[Caller], thread: Thread
) -> None:
    ends = list(thread.messages.filter(children=None).values_list("pk", flat=True))
    url = f"/chat/threads/{thread.pk}/branch/"
    for first, second in pairwise(ends):
        answers = at_once(
            partial(tabs[0].put, url, json={"message_id": first}),
            partial(tabs[1].put, url, json={"message_id": second}),
        )

        assert [answer.status_code for answer in answers] == [200, 200]
        assert Thread.objects.get(pk=thread.pk).current_message_id in (first, second)


def test_a_first_message_with_a_key_makes_one_thread_whichever_worker_gets_it(
    tabs: list[Caller], thread: Thread, ollama: ScriptedOllama
) -> None:
    for number in range(3):
        ollama.chats.clear()
        key, body = {"Idempotency-Key": f"key {number}"}, {"message": f"Hello {number}"}
        send = "/chat/response/new/"

        answers = at_once(*[partial(tab.post, send, json=body, headers=key) for tab in tabs])

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["Thread-Id"] for answer in answers}) == 1
        assert len(ollama.chats) == 1
    assert Thread.objects.count() == 1 + 3
    require_order()

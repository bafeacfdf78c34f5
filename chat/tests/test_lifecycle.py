"""The life of a reply: each row of lifecycle.py's table, and that nothing else sets a status."""

import ast
import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Q

from chat.models import Message, MessageStatus, Sender, Thread
from chat.replies import lifecycle
from chat.replies.lifecycle import NotOwner
from chat.replies.owner import NOBODY, this_process
from testing.people import create_user
from testing.processes import ROOT

ELSEWHERE = "another-machine/1/0123abcd"
ENDED = [status for status in MessageStatus if status != MessageStatus.GENERATING]
NO_ROW = "(no row)"


class Change(NamedTuple):
    """A row of the table."""

    before: str
    after: str
    function: str

    def __str__(self) -> str:
        return f"{self.before} to {self.after} by {self.function}"


TABLE = [
    Change(*row)
    for row in re.findall(
        r"^\| (.*?) *\| (.*?) *\| .*?\| `(\w+)` *\|$", lifecycle.__doc__ or "", re.MULTILINE
    )
]
# Who calls each function: its owner, or any process.
OWNERS = {"take_over": ELSEWHERE, "interrupt": ELSEWHERE, "stop": ELSEWHERE}


def make_reply(status: str, owner: str, **fields: Any) -> Message:
    """Store a question and a reply to it."""
    thread = Thread.objects.create(user=create_user("ann"), model="tiny")
    question = thread.messages.create(sender=Sender.USER, content="Hello?")
    return thread.messages.create(
        sender=Sender.BOT,
        parent=question,
        status=status,
        owner=owner,
        heartbeat_at=datetime(2026, 1, 1, tzinfo=UTC),
        **fields,
    )


def begin(reply: Message, after: str) -> None:
    thread = Thread.objects.get()
    lifecycle.begin(thread=thread, created_at=thread.created_at)


# What each function is called with, so that the status afterwards is `after`.
CALLS: dict[str, Callable[[Message, str], object]] = {
    "begin": begin,
    "end": lambda reply, after: lifecycle.end(reply, MessageStatus(after)),
    "stop": lambda reply, after: lifecycle.stop(Q(pk=reply.pk)),
    "hand_over": lambda reply, after: lifecycle.hand_over([reply.pk]),
    "take_over": lambda reply, after: lifecycle.take_over(reply),
    "interrupt": lambda reply, after: lifecycle.interrupt(reply),
    "discard": lambda reply, after: lifecycle.discard(reply),
    "reopen": lambda reply, after: lifecycle.reopen(reply),
}


def call(change: Change, reply: Message, after: str) -> None:
    with transaction.atomic():
        CALLS[change.function](reply, after)


def stored() -> str:
    """Return the status of the one reply, as it is stored."""
    return Message.objects.filter(sender=Sender.BOT).values_list("status", flat=True).first() or (
        NO_ROW
    )


def test_the_table_has_every_function_that_changes_a_reply() -> None:
    functions = {
        name
        for name, function in inspect.getmembers(lifecycle, inspect.isfunction)
        if function.__module__ == lifecycle.__name__ and not name.startswith("_")
    }

    assert {change.function for change in TABLE} == CALLS.keys()
    assert functions - CALLS.keys() == {"has_unsaved_text", "silence_of"}  # which read only


def test_the_table_has_every_status() -> None:
    assert {change.after for change in TABLE} == {*MessageStatus, NO_ROW, "as before"}
    assert {change.before for change in TABLE} == {NO_ROW, "generating", "ended"}


def cases() -> list[tuple[Change, str, str]]:
    """Return the rows of the table, one for each status where a row stands for several."""
    return [
        (change, before, after)
        for change in TABLE
        for before in (ENDED if change.before == "ended" else [change.before])
        for after in (ENDED if change.after == "as before" else [change.after])
    ]


@pytest.mark.parametrize(("change", "before", "after"), cases(), ids=str)
def test_each_change_of_the_table_is_made(
    each_database: None, change: Change, before: str, after: str
) -> None:
    status = "complete" if before == NO_ROW else before
    owner = OWNERS.get(change.function, this_process())
    reply = make_reply(status, owner, content="half", finish_reason="length")
    if before == NO_ROW:
        reply.delete()

    call(change, reply, after)

    assert stored() == after


GUARDED = [change for change in TABLE if change.before == "generating"]


@pytest.mark.parametrize("status", ENDED)
@pytest.mark.parametrize("change", GUARDED, ids=str)
def test_a_reply_that_has_ended_stays_as_it_ended(
    each_database: None, change: Change, status: str
) -> None:
    owner = OWNERS.get(change.function, this_process())
    reply = make_reply(status, owner, content="half")

    call(change, reply, "failed" if change.after == "as before" else change.after)

    assert stored() == status


@pytest.mark.parametrize(
    "change", [change for change in GUARDED if change.function not in OWNERS], ids=str
)
def test_only_its_owner_changes_a_reply(each_database: None, change: Change) -> None:
    reply = make_reply("generating", ELSEWHERE)
    refusal = pytest.raises(NotOwner) if change.function == "end" else transaction.atomic()

    with refusal:
        call(change, reply, "failed" if change.after == "as before" else change.after)

    row = Message.objects.get(pk=reply.pk)
    assert (row.status, row.owner) == ("generating", ELSEWHERE)


@pytest.mark.parametrize("function", ["take_over", "interrupt"])
def test_an_orphan_that_came_back_is_left_alone(each_database: None, function: str) -> None:
    orphan = make_reply("generating", ELSEWHERE)
    Message.objects.filter(pk=orphan.pk).update(heartbeat_at=datetime(2026, 1, 2, tzinfo=UTC))

    CALLS[function](orphan, "")

    row = Message.objects.get(pk=orphan.pk)
    assert (row.status, row.owner) == ("generating", ELSEWHERE)


def test_of_two_processes_one_takes_an_orphan_over(each_database: None) -> None:
    orphan = make_reply("generating", ELSEWHERE)

    assert lifecycle.take_over(orphan)
    assert not lifecycle.take_over(orphan)

    assert Message.objects.get(pk=orphan.pk).owner == this_process()


def test_a_reply_that_is_handed_over_is_nobodys(each_database: None) -> None:
    reply = make_reply("generating", this_process())

    lifecycle.hand_over([reply.pk])

    assert Message.objects.get(pk=reply.pk).owner == NOBODY


@pytest.mark.parametrize("status", ["generating", "complete"])
def test_a_reply_that_is_whole_or_running_is_not_reopened(each_database: None, status: str) -> None:
    reply = make_reply(status, ELSEWHERE, finish_reason="stop")

    assert not lifecycle.reopen(reply)

    assert stored() == status


def test_a_reply_that_has_been_answered_is_not_reopened(each_database: None) -> None:
    reply = make_reply("stopped", ELSEWHERE)
    reply.thread.messages.create(sender=Sender.USER, parent=reply, content="And?")

    assert not lifecycle.reopen(reply)


def test_a_thread_has_one_running_reply(each_database: None) -> None:
    thread = Thread.objects.create(user=create_user("ann"), model="m")
    lifecycle.begin(thread=thread, created_at=thread.created_at)

    with pytest.raises(IntegrityError), transaction.atomic():
        lifecycle.begin(thread=thread, created_at=thread.created_at)


# --- Nothing else -------------------------------------------------------------------------------

LIFECYCLE = "chat/replies/lifecycle.py"
IMPORT = "chat/transfer/importing.py"  # makes rows of replies that have ended
# Rows that are only shown to readers, and not stored; and messages of a file that is imported.
SHOWN = {
    "chat/replies/follow.py": 1,
    "chat/replies/live.py": 1,
    "chat/replies/store.py": 2,
    "chat/transfer/conversation.py": 1,
}


def code() -> dict[str, ast.Module]:
    """Return the syntax trees of the server's code, by file."""
    packages = [file.parent for file in ROOT.glob("*/__init__.py")]
    files = [file.relative_to(ROOT) for package in packages for file in package.rglob("*.py")]
    # Accounts and core cannot import chat.
    others = {"accounts", "core", "benchmarks", "local_model", "migrations", "testing", "tests"}
    return {
        str(file): ast.parse((ROOT / file).read_text())
        for file in files
        if not others.intersection(file.parts)
    }


def assigns_status(node: ast.AST) -> bool:
    """Return whether a statement assigns to the attribute `status` of anything but `self`."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    flat = [each for target in targets for each in getattr(target, "elts", [target])]
    return any(
        isinstance(target, ast.Attribute)
        and target.attr == "status"
        and ast.unparse(target.value) != "self"
        for target in flat
    )


def writes_status(node: ast.AST) -> bool:
    """Return whether a call stores a status by the ORM, or by the statement for a reply's end."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    stores = {"update", "create", "acreate", "aupdate", "get_or_create", "update_or_create"}
    stores.add("insert_message")
    by_orm = node.func.attr in stores and any(each.arg == "status" for each in node.keywords)
    rows = node.func.attr == "bulk_create" and ast.unparse(node.func.value) == "Message.objects"
    return by_orm or rows or node.func.attr == "save_reply_end"


def test_nothing_else_sets_a_status() -> None:
    trees = code()
    assert LIFECYCLE in trees
    assigned = {file: sum(map(assigns_status, ast.walk(tree))) for file, tree in trees.items()}
    written = {file for file, tree in trees.items() if any(map(writes_status, ast.walk(tree)))}

    assert {file: n for file, n in assigned.items() if n and file != LIFECYCLE} == SHOWN
    assert written == {LIFECYCLE, IMPORT}


def test_one_statement_alone_sets_a_status() -> None:
    files = sorted((ROOT / "chat" / "statements").glob("*.py"))
    setting = [
        function.name
        for file in files
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef)
        and re.search(r"\bSET\b[^']*?\bstatus = %s.*?\bWHERE", ast.unparse(function), re.DOTALL)
    ]

    assert setting == ["save_reply_end"]

"""GET /chat/threads/<id>/export/ and GET /auth/export/."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json

from accounts.models import Session
from benchmarks.process import resident_bytes
from chat.models import Message, MessageStatus, Sender, Thread, UnindexedText
from chat.tests.rows import repeat
from chat.transfer import schemas
from testing.admin import USERS, Browser
from testing.answers import error_of
from testing.audit import Audit
from testing.people import Caller, token_of
from testing.processes import Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def url(thread: Thread) -> str:
    return f"/chat/threads/{thread.pk}/export/"


@pytest.fixture
def thread(ann: Caller) -> Thread:
    """A thread with two answers to a question, of which the first is the current one."""
    thread = ann.thread(
        title="Llamas & Süßes / 羊驼?", system_prompt="Be brief.\nAlways.", created_at=NOON
    )
    question = write(thread, Sender.USER, "Where do *llamas* live?")
    first = write(
        thread,
        Sender.BOT,
        "In the Andes.",
        question,
        thinking="South America?",
        rating=1,
        rated_at=NOON,
    )
    write(thread, Sender.BOT, "Elsewhere.", question, status=MessageStatus.STOPPED)
    thread.current_message = first
    thread.save()
    return thread


def write(
    thread: Thread, sender: str, content: str, parent: Message | None = None, **fields: Any
) -> Message:
    model = "llama3.2" if sender == Sender.BOT else ""
    return thread.messages.create(
        sender=sender, content=content, parent=parent, model=model, created_at=NOON, **fields
    )


# --- A thread ------------------------------------------------------------------------------------


def test_a_person_gets_the_current_branch_as_markdown(ann: Caller, thread: Thread) -> None:
    answer = ann.get(url(thread))

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store, no-transform"
    assert (
        answer.headers["Content-Disposition"]
        == "attachment; filename*=utf-8''Llamas%20S%C3%BC%C3%9Fes%20%E7%BE%8A%E9%A9%BC.md"
    )
    assert answer.text == (
        "# Llamas & Süßes / 羊驼?\n\n"
        f"Begun 2026-03-01 12:00 UTC, last changed {thread.updated_at:%Y-%m-%d %H:%M} UTC.\n"
        "\n> Be brief.\n> Always.\n"
        "\n## You\n\n*2026-03-01 12:00 UTC*\n\nWhere do *llamas* live?\n"
        "\n## llama3.2\n\n*2026-03-01 12:00 UTC*\n\n"
        "<details><summary>Thoughts</summary>\n\nSouth America?\n\n</details>\n\n"
        "In the Andes.\n"
    )


def test_the_markdown_says_how_a_reply_ended(ann: Caller, thread: Thread) -> None:
    Thread.objects.update(current_message=None)

    assert "*2026-03-01 12:00 UTC, stopped*\n\nElsewhere.\n" in ann.get(url(thread)).text


def test_a_program_gets_the_whole_tree_as_json(ann: Caller, thread: Thread) -> None:
    answer = ann.get(url(thread), params={"format": "json"})

    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    described = schemas.WholeThread.model_validate_json(answer.content)
    assert body == described.model_dump(mode="json", exclude_unset=True)
    assert (body["format"], body["version"], body["type"]) == ("llama-chatbot", 1, "thread")
    assert (body["id"], body["title"]) == (thread.pk, thread.title)
    assert body["current_message_id"] == thread.current_message_id
    assert [message["content"] for message in body["messages"]] == [
        "Where do *llamas* live?",
        "In the Andes.",
        "Elsewhere.",
    ]
    question, first, second = body["messages"]
    assert question["parent_id"] is None
    assert first["parent_id"] == second["parent_id"] == question["id"]
    assert first["feedback"]["rating"] == 1
    assert set(question) == {"id", "parent_id", "sender", "content", "status", "created_at"}


def test_a_long_branch_is_complete(ann: Caller) -> None:
    thread = ann.thread()
    Message.objects.bulk_create(
        Message(thread=thread, sender=Sender.USER, content=f"number {number}.")
        for number in range(1, 501)
    )
    ids = list(thread.messages.order_by("pk").values_list("pk", flat=True))
    for parent, message in pairwise(ids):
        Message.objects.filter(pk=message).update(parent=parent)

    text = ann.get(url(thread)).text

    places = [text.index(f"number {number}.") for number in range(1, 501)]
    assert places == sorted(places)


def test_an_empty_thread_can_be_exported(ann: Caller) -> None:
    thread = ann.thread()

    assert ann.get(url(thread)).text.startswith("# New Chat\n")
    assert 'filename="conversation.md"' in ann.get(url(thread)).headers["Content-Disposition"]
    assert ann.get(url(thread), params={"format": "json"}).json()["messages"] == []


def test_another_format_is_refused(ann: Caller, thread: Thread) -> None:
    body = error_of(ann.get(url(thread), params={"format": "pdf"}), 400, "invalid")

    assert list(body["fields"]) == ["format"]


def test_someone_elses_thread_is_not_exported(bob: Caller, thread: Thread) -> None:
    for format in ("markdown", "json"):
        error_of(bob.get(url(thread), params={"format": format}), 404, "not_found")


# --- An account ----------------------------------------------------------------------------------


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_account_is_exported_with_all_that_is_kept_of_it(
    ann: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    assert ann.user
    ollama.script = Script(["Hello, ", "Ann"])
    thread = ann.thread(title="Mine")
    ann.say(thread, "Hello", headers={"Idempotency-Key": "once"})
    bob.say(bob.thread(title="Bob's"), "a secret of Bob's")
    secret = token_of(ann)

    answer = ann.get("/auth/export/")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ann.ndjson"'
    lines = lines_of(answer.text)
    for line in lines:
        described = TypeAdapter(schemas.ExportLine).validate_json(to_json(line))
        assert line == described.model_dump(mode="json", exclude_unset=True)
    assert [line["type"] for line in lines] == [
        "export",
        "account",
        "session",
        "token",
        "usage",
        "idempotency_key",
        "thread",
        "message",
        "message",
        "thread_end",
        "end",
    ]
    assert (lines[0]["format"], lines[0]["version"]) == ("llama-chatbot", 1)
    assert lines[1]["email"] == "ann@example.com"
    assert lines[4]["replies"] == 1
    assert lines[5]["key"] == "once"
    assert [line["content"] for line in lines if line["type"] == "message"] == [
        "Hello",
        "Hello, Ann",
    ]
    assert lines[-1] == {"type": "end", "threads": 1, "messages": 2}
    for hidden in (
        "Bob",
        secret,
        ann.user.password,
        Session.objects.filter(user=ann.user).get().session_key,
    ):
        assert hidden not in answer.text


def test_a_deleted_thread_is_not_exported(ann: Caller, rows_stay: None) -> None:
    ann.say(ann.thread(title="gone"), "gone")
    ann.delete("/chat/threads/delete/")

    assert "gone" not in ann.get("/auth/export/").text


def test_a_token_does_not_export_an_account(ann: Caller) -> None:
    script = Caller(str(ann.base_url))
    script.headers["Authorization"] = f"Bearer {token_of(ann)}"

    error_of(script.get("/auth/export/"), 403, "forbidden")


def test_an_export_is_in_the_audit_log(ann: Caller, server: Server) -> None:
    assert ann.user
    audit = Audit(server)

    ann.get("/auth/export/", headers=audit.headers)

    line = audit.event("export")
    assert (line["user"], line["by"]) == (ann.user.pk, ann.user.pk)


def test_an_account_of_any_size_is_exported_in_little_memory_while_others_are_served(
    ann: Caller, bob: Caller, start_server: StartServer
) -> None:
    thread = ann.thread()
    repeat(thread.messages.create(sender=Sender.USER, content="llama " * 100), 99_999)
    UnindexedText.objects.all().delete()  # or the server would be busy with them
    server = start_server()
    with Caller(server.url, ann.user) as exporting, Caller(server.url, bob.user) as other:
        exporting.get("/chat/threads/")
        before = resident_bytes(server.pid)
        most, waits, size, piece = before, [], 0, b""
        with ThreadPoolExecutor(1) as pool:
            asked = None
            with exporting.stream("GET", "/auth/export/", timeout=120) as response:
                for piece in response.iter_bytes():
                    size += len(piece)
                    most = max(most, resident_bytes(server.pid))
                    if asked is None or asked.done():
                        if asked:
                            waits.append(asked.result())
                        asked = pool.submit(seconds_of, other)

    assert piece.endswith(b'{"type":"end","threads":1,"messages":100000}\n')
    assert size > 60_000_000
    assert most - before < 50_000_000
    assert len(waits) > 3
    assert sorted(waits)[len(waits) // 2] < 2  # where they had to wait for the export, it is more


def seconds_of(caller: Caller) -> float:
    began = time.monotonic()
    assert caller.get("/chat/threads/").status_code == 200
    return time.monotonic() - began


# --- The admin -----------------------------------------------------------------------------------


def test_a_superuser_exports_an_account_in_the_admin(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.say(ann.thread(), "Hello")
    page = root.get(f"{USERS}{ann.user.pk}/change/").text
    assert f"{USERS}{ann.user.pk}/export/" in page

    answer = root.get(f"{USERS}{ann.user.pk}/export/")

    assert answer.status_code == 200
    assert lines_of(answer.text)[1]["username"] == "ann"
    assert lines_of(answer.text)[-1]["messages"] == 2


def test_nobody_else_exports_an_account_in_the_admin(operator: Browser, ann: Caller) -> None:
    assert ann.user
    ann.say(ann.thread(), "Hello")

    assert "/export/" not in operator.get(f"{USERS}{ann.user.pk}/change/").text
    assert operator.get(f"{USERS}{ann.user.pk}/export/").status_code == 403


@pytest.mark.parametrize("key", ["0", "999999", "9" * 30])
def test_an_account_that_is_none_is_not_exported(root: Browser, key: str) -> None:
    assert root.get(f"{USERS}{key}/export/").status_code == 404


def test_an_export_in_the_admin_says_in_the_audit_log_who_has_made_it(
    root: Browser, ann: Caller, server: Server
) -> None:
    assert ann.user
    assert root.user
    audit = Audit(server)

    root.get(f"{USERS}{ann.user.pk}/export/", headers=audit.headers)

    line = audit.event("export")
    assert (line["user"], line["by"]) == (ann.user.pk, root.user.pk)

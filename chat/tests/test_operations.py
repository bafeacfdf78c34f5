"""The admin's page of what runs now: what it shows to whom, and how a reply is stopped there."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import User
from chat import operations
from chat.models import Message, MessageStatus, Sender, Usage
from testing.admin import Browser, told
from testing.answers import error_of
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, sending
from testing.waiting import wait_until

PAGE = "/admin/chat/usage/now/"


def table(page: str, name: str) -> list[list[str]]:
    """Return the text of each cell of a table, row by row, without its head."""
    (body,) = re.findall(rf'<table id="{name}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [
        [
            re.sub(r"<[^>]*>|&nbsp;", "", cell).strip()
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]
        for row in re.findall("<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def page_of(browser: Browser) -> str:
    answer = browser.get(PAGE)
    assert answer.status_code == 200, answer.text
    return answer.text


def grant(user: User, *permissions: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))


def test_the_page_shows_who_has_a_reply_of_which_model_from_where(
    root: Browser, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    thread = ann.thread(title="a secret title")
    with sending(ann, thread, "a secret question", **SSE) as reading:
        reading.until("one")
        page = page_of(root)
        ollama.release()
        reading.to_the_end()

    ((reply_id, user, model, host, seconds, _),) = table(page, "running")
    assert reply_id == str(reply_of(thread).pk)
    assert (user, model, host) == ("ann", thread.model, ollama.url)
    assert 0 <= int(seconds) < 20
    assert "secret" not in page
    assert "Nothing runs." in page_of(root)


def test_the_page_shows_what_waits_for_its_turn(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server(OLLAMA_PARALLEL="1")
    ollama.script = Script(["one ", "two"], hold_after=1)
    root = Browser(server.url, create_user("chief", is_staff=True, is_superuser=True))
    with Caller(server.url, ann.user) as ann, sending(ann, ann.thread(), **SSE) as first:
        first.until("one")
        with sending(ann, ann.thread(), **SSE) as second:
            second.until("queued")
            hosts = [row[3] for row in table(page_of(root), "running")]
            ollama.script = Script(["one ", "two"])
            ollama.release()
            second.to_the_end()
        first.to_the_end()

    assert hosts == [ollama.url, "waits for its turn"]


def test_an_operator_stops_a_reply(
    server: Server, root: Browser, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread, **SSE) as reading:
        reading.until("one")
        (button,) = re.findall(r'name="reply_id" value="(\d+)"', page_of(root))

        answer = root.post(PAGE, data={"reply_id": button})

        assert (answer.status_code, answer.headers["Location"]) == (302, PAGE)
        assert '"status":"stopped"' in reading.to_the_end().replace(" ", "")
    wait_for_status(thread, "stopped")
    lines = [line for line in server.log().splitlines() if '"reply_stopped"' in line]
    line = json.loads(lines[-1])
    assert ann.user and root.user
    assert (line["reply"], line["user"], line["by"]) == (int(button), ann.user.pk, root.user.pk)


@pytest.mark.parametrize("reply_id", ["", "0", "x", "²", "9" * 18, "9" * 30, "-1"])
def test_a_reply_that_does_not_run_is_not_stopped(root: Browser, reply_id: str) -> None:
    answer = root.post(PAGE, data={"reply_id": reply_id})

    assert answer.status_code == 302
    assert "That reply does not run any more." in told(root, answer)


def test_the_page_is_for_those_who_may_view_usage(operator: Browser) -> None:
    assert operator.user
    error_of(operator.get(PAGE), 403, "forbidden")

    grant(operator.user, "view_usage")

    assert "The last hour" in page_of(operator)
    assert PAGE in operator.get("/admin/chat/usage/").text


def test_stopping_is_for_those_who_may_change_messages(
    operator: Browser, ann: Caller, ollama: ScriptedOllama
) -> None:
    assert operator.user
    grant(operator.user, "view_usage")
    ollama.script = Script(["one ", "two"], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread, **SSE) as reading:
        reading.until("one")
        assert "Stop" not in page_of(operator)
        data = {"reply_id": str(reply_of(thread).pk)}
        error_of(operator.post(PAGE, data=data), 403, "forbidden")

        grant(operator.user, "change_message")

        assert "Stop" in page_of(operator)
        assert operator.post(PAGE, data=data).status_code == 302
        reading.to_the_end()
    wait_for_status(thread, "stopped")


def test_a_form_of_another_site_stops_nothing(root: Browser) -> None:
    answer = root.post(PAGE, data={"reply_id": "1"}, headers={"X-CSRFToken": ""})

    error_of(answer, 403, "forbidden")


def test_the_last_hour_has_first_tokens_and_failures_by_model(ann: Caller, root: Browser) -> None:
    thread = ann.thread()

    def store(model: str, first_token_ms: int | None, **fields: object) -> None:
        thread.messages.create(
            sender=Sender.BOT, model=model, first_token_ms=first_token_ms, **fields
        )

    for milliseconds in range(1, 101):
        store("large", milliseconds)
    store("small", 7, status=MessageStatus.INTERRUPTED)
    store("small", None, status=MessageStatus.FAILED)
    store("small", 5000, created_at=timezone.now() - timedelta(hours=1, minutes=1))
    store("small", None, status=MessageStatus.GENERATING)

    rows = table(page_of(root), "speeds")

    assert rows == [["large", "100", "0", "51 ms", "96 ms"], ["small", "2", "2", "7 ms", "7 ms"]]


def test_among_very_many_messages_only_the_newest_count(
    ann: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MAX_RECENT", 3)
    thread = ann.thread()
    for number in range(5):
        thread.messages.create(sender=Sender.BOT, model="tiny", first_token_ms=number)

    assert operations.speeds() == [operations.Speed("tiny", 3, 0, 3, 4)]


def test_use_is_a_table_and_a_plot(root: Browser, ann: Caller) -> None:
    assert ann.user
    today = timezone.now().date()
    bob = create_user("bob")
    for user, ago, number in ((ann.user, 0, 5), (bob, 0, 30), (bob, 1, 70), (bob, 14, 1000)):
        Usage.objects.create(
            user=user,
            date=today - timedelta(days=ago),
            model="tiny",
            prompt_tokens=number,
            completion_tokens=number,
        )

    page = page_of(root)

    assert table(page, "use") == [
        ["bob", *["0"] * 12, "140", "60", "200"],
        ["ann", *["0"] * 12, "0", "10", "10"],
    ]
    bars = re.findall(r'<rect x="(\d+)" y="(\d+)" .*?height="(\d+)".*?: (\d+)</title>', page)
    assert len(bars) == 14
    assert bars[-2:] == [("480", "0", "120", "140"), ("520", "60", "60", "70")]


def test_the_page_needs_no_style_or_script_of_its_own(root: Browser) -> None:
    answer = root.get(PAGE)

    page = answer.text[answer.text.index("<h2>Running") :]
    assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?! src)|<style|\bstyle=|\bon\w+=", page)


def test_a_reply_without_a_live_process_is_stopped_too(root: Browser, ann: Caller) -> None:
    thread = ann.thread()
    reply = thread.messages.create(
        sender=Sender.BOT,
        model="tiny",
        status=MessageStatus.GENERATING,
        owner="another-machine/1/0123abcd",
        heartbeat_at=timezone.now(),
    )

    root.post(PAGE, data={"reply_id": str(reply.pk)})

    wait_until(lambda: Message.objects.get(pk=reply.pk).status == MessageStatus.STOPPED)

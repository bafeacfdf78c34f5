"""Conversations in the admin, for those who may read them; and what the list of users counts."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import Token
from chat.models import Message, Sender, Thread
from testing.admin import USERS, Browser
from testing.audit import Audit
from testing.people import Caller
from testing.processes import Server


@pytest.fixture
def reader(operator: Browser) -> Browser:
    """An operator who may read messages."""
    assert operator.user
    operator.user.user_permissions.add(Permission.objects.get(codename="view_message"))
    return operator


def page_of(browser: Browser, thread: Thread, query: str = "") -> str:
    return browser.get(f"/admin/chat/thread/{thread.pk}/change/{query}").text


def texts_of(page: str) -> list[str]:
    return re.findall(r'<div class="text">(.*?)</div>', page, re.DOTALL)


def test_a_conversation_is_read_from_its_beginning_to_its_end(reader: Browser, ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Hello\n<script>")
    ann.say(thread, "And then?")

    page = page_of(reader, thread)

    assert texts_of(page) == [
        "Hello\n&lt;script&gt;",
        "You said: Hello\n&lt;script&gt;",
        "And then?",
        "You said: And then?",
    ]
    assert page.count("<b>ann</b>") == page.count("<b>llama3.2</b>") == 2


def test_the_conversation_is_the_current_branch(reader: Browser, ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Before")
    body = {"message": "After", "parent_id": None}
    ann.post(f"/chat/streaming-response/{thread.pk}/", json=body)

    assert texts_of(page_of(reader, thread)) == ["After", "You said: After"]


def test_a_long_one_has_pages(reader: Browser, ann: Caller) -> None:
    thread = ann.thread()
    parent = None
    for number in range(150):
        sender = Sender.BOT if number % 2 else Sender.USER
        parent = thread.messages.create(sender=sender, content=f"Text {number}", parent=parent)

    newest = page_of(reader, thread)
    (until,) = re.findall(r'href="(\?until=\d+)', newest)
    older = page_of(reader, thread, until)

    assert len(texts_of(newest)) == 100
    assert len(texts_of(older)) == 50
    assert "Earlier messages" not in older
    assert "The newest messages" in older
    read = list(Message.objects.filter(thread=thread).order_by("pk").values_list("content"))
    assert [(text,) for text in texts_of(older) + texts_of(newest)] == read


@pytest.mark.parametrize("until", ["x", "-1", "9" * 30, "0", "999999"])
def test_a_page_that_there_is_not_is_no_error(reader: Browser, ann: Caller, until: str) -> None:
    thread = ann.thread()
    ann.say(thread)

    answer = reader.get(f"/admin/chat/thread/{thread.pk}/change/", params={"until": until})

    assert answer.status_code == 200


def test_messages_of_another_thread_are_not_in_the_conversation(
    reader: Browser, ann: Caller
) -> None:
    thread, other = ann.thread(), ann.thread()
    ann.say(other, "of the other")
    last = Message.objects.latest("pk").pk

    assert texts_of(page_of(reader, thread, f"?until={last}")) == []


def test_a_conversation_that_was_read_is_in_the_audit_log(
    reader: Browser, ann: Caller, server: Server
) -> None:
    assert ann.user
    thread = ann.thread()
    reader.headers.update((audit := Audit(server)).headers)

    page_of(reader, thread)

    assert reader.user
    line = audit.event("conversation_read")
    assert (line["user"], line["by"]) == (ann.user.pk, reader.user.pk)
    assert line["thread"] == thread.pk


def test_titles_are_listed_for_those_who_may_read_messages(
    root: Browser, operator: Browser, ann: Caller
) -> None:
    ann.thread(title="Llamas of Peru")
    ann.thread()

    may, may_not = (browser.get("/admin/chat/thread/").text for browser in (root, operator))

    assert "Llamas of Peru" in may
    assert "New Chat" in may
    assert "Llamas of Peru" not in may_not


def test_the_list_of_users_says_what_each_has_and_uses(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.thread()
    Token.objects.issue(ann.user, "my script", 1)
    Token.objects.issue(ann.user, "an old one", 1)[0].revoke()
    today = timezone.now().date()
    for days_ago, tokens in ((0, 1200), (29, 34), (30, 10_000)):
        date = today - timedelta(days=days_ago)
        ann.user.usage.create(date=date, model="llama3.2", prompt_tokens=tokens)

    page = root.get(USERS, params={"q": "ann"}).text

    cells = dict(re.findall(r'class="field-(\w+)[^"]*">([^<]*)<', page))
    assert (cells["number_of_threads"], cells["number_of_tokens"]) == ("1", "1")
    assert cells["used"] == "1,234"

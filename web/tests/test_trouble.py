"""What goes wrong, from a reload to a limit: nothing typed is lost, and there is one answer."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from accounts.models import Session
from chat.models import Message
from testing.fixtures.browsers import Site
from testing.people import PASSWORD
from testing.processes import ROOT, Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until
from web.tests.conftest import SECONDS, Chat

NUMBERS = ["one ", "two ", "three ", "four"]
WHOLE = "".join(NUMBERS)


@pytest.fixture
def counting(chat: Chat, ollama: ScriptedOllama) -> Chat:
    """Ann, who reads the half of an answer."""
    ollama.script = Script(NUMBERS, hold_after=2)
    chat.send("Count")
    expect(chat.answers).to_have_text(["one two"])
    wait_until(lambda: Message.objects.filter(content="one two "), SECONDS)
    return chat


def expect_one_answer(chat: Chat) -> None:
    expect(chat.answers).to_have_text([WHOLE])
    chat.wait_for_end()
    expect(chat.questions).to_have_text(["Count"])
    assert Message.objects.count() == 2
    assert chat.box.input_value() == ""


def test_a_reload_in_mid_answer(counting: Chat, ollama: ScriptedOllama) -> None:
    counting.page.reload()
    expect(counting.answers).to_have_text(["one two"])
    ollama.release()

    expect_one_answer(counting)
    assert len(ollama.chats) == 1


def test_the_server_is_killed_in_mid_answer(
    counting: Chat, page_server: Server, ollama: ScriptedOllama
) -> None:
    page_server.kill()
    expect(counting.page.get_by_text("The server cannot be reached.")).to_be_visible()
    page_server.start()
    ollama.release()

    expect_one_answer(counting)
    expect(counting.page.get_by_text("The server cannot be reached.")).to_have_count(0)


def test_a_message_that_is_sent_without_a_connection_is_sent_once_there_is_one(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(NUMBERS)
    chat.context.set_offline(True)
    chat.send("Count")
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_visible()
    chat.context.set_offline(False)

    expect_one_answer(chat)


def test_a_page_that_is_closed_before_its_message_arrives_has_it_the_next_time(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(NUMBERS)
    chat.context.set_offline(True)
    chat.send("Count")
    expect(chat.page.get_by_text("The server cannot be reached.")).to_be_visible()
    chat.page.close()
    chat.context.set_offline(False)
    chat.page = chat.new_window()
    chat.open()

    expect(chat.box).to_have_value("Count")
    chat.box.press("Enter")
    expect_one_answer(chat)


def test_what_one_types_is_kept_for_each_thread(chat: Chat) -> None:
    thread = chat.thread(title="One")
    chat.box.fill("For a new one")
    chat.open(thread)
    chat.box.fill("For this one")
    chat.page.get_by_role("link", name="New conversation").click()
    expect(chat.box).to_have_value("For a new one")
    chat.page.go_back()
    expect(chat.box).to_have_value("For this one")
    chat.page.reload()
    expect(chat.box).to_have_value("For this one")


def test_an_ended_session(counting: Chat, ollama: ScriptedOllama) -> None:
    counting.box.fill("And then?")
    Session.objects.all().delete()
    ollama.release()
    expect(counting.page.get_by_text("Your session has ended.")).to_be_visible()
    counting.page.get_by_label("Name or e-mail address").fill("ann")
    counting.page.get_by_label("Password").fill(PASSWORD)
    counting.page.get_by_role("button", name="Log in").click()

    expect(counting.box).to_have_value("And then?")
    expect(counting.questions).to_have_text(["Count"])


def test_a_model_that_is_missing(visitor: Chat) -> None:
    visitor.log_in("ann")
    visitor.open(visitor.thread(model="gone"))
    visitor.send("Hello")
    visitor.expect_note("pull.*gone")
    expect(visitor.box).to_have_value("Hello")
    expect(visitor.page.locator(".model")).to_have_text("gone")
    visitor.button("Choose another model").click()
    visitor.page.get_by_label("Model", exact=True).select_option("llama3.2:latest")
    visitor.page.get_by_role("button", name="Save").click()
    expect(visitor.page.locator(".model")).to_have_text("llama3.2")

    visitor.box.press("Enter")

    expect(visitor.answers).to_have_text(["You said: Hello"])


def test_a_model_that_fails_in_the_middle(chat: Chat, ollama: ScriptedOllama) -> None:
    ollama.scripts.append(Script(NUMBERS[:2], then="die"))
    ollama.script = Script(NUMBERS)
    chat.send("Count")
    expect(chat.page.get_by_text("The model failed here.")).to_be_visible()

    chat.button("Continue").click()

    expect_one_answer(chat)


def test_a_daily_allowance_that_is_used_up(chat: Chat) -> None:
    type(chat.user).objects.update(daily_tokens=1)
    chat.say("Hello")
    chat.send("Once more")

    chat.expect_note(r"You can go on in \d+ (h|min|s)")
    expect(chat.box).to_have_value("Once more")
    expect(chat.questions).to_have_text(["Hello"])


@pytest.fixture
def limited(
    start_server: StartServer, page_environment: dict[str, str], browser: Browser
) -> Iterator[Chat]:
    """Ann at a server that takes one message an hour."""
    server = start_server(**{**page_environment, "RATE_LIMIT_CHAT": "1/h"})
    chat = Chat(browser, server.url)
    chat.log_in("ann")
    chat.page.clock.install()
    yield chat.open()
    chat.context.close()
    assert not chat.errors


def test_a_limit_counts_down(limited: Chat) -> None:
    limited.say("First")
    limited.send("Second")
    limited.expect_note(r"You can go on in \d+ (s|min)")
    expect(limited.box).to_have_value("Second")
    expect(limited.questions).to_have_text(["First"])

    limited.page.clock.fast_forward("01:00:00")

    expect(limited.page.locator(".note")).to_be_empty()
    expect(limited.box).to_have_value("Second")


@pytest.fixture
def elsewhere(
    site: Site, start_server: StartServer, page_environment: dict[str, str], browser: Browser
) -> Iterator[Chat]:
    """The page, served by another server than the one that it calls."""
    server = start_server(**{**page_environment, "FRONTEND_ORIGINS": site.origin})
    url = server.url.replace("127.0.0.1", "localhost")
    page = (ROOT / "web" / "index.html").read_text()
    page = page.replace('name="server" content=""', f'name="server" content="{url}"')
    (site.directory / "index.html").write_text(page)
    shutil.copytree(ROOT / "web" / "static", site.directory / "static")
    shutil.copytree(ROOT / "clients" / "javascript", site.directory / "static" / "client")
    chat = Chat(browser, site.origin)
    yield chat
    chat.context.close()
    assert not chat.errors


def test_the_page_works_from_another_origin(elsewhere: Chat, ollama: ScriptedOllama) -> None:
    page = elsewhere.page
    page.goto(f"{elsewhere.url}/#/register")
    page.get_by_label("Name").fill("carl")
    page.get_by_label("E-mail address").fill("carl@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(elsewhere.box).to_be_visible()
    ollama.script = Script(NUMBERS, hold_after=2)
    elsewhere.send("Count")
    expect(elsewhere.answers).to_have_text(["one two"])
    page.reload()
    expect(elsewhere.answers).to_have_text(["one two"])
    ollama.release()

    expect_one_answer(elsewhere)

"""A browser in front of the page, a server with two workers, and the scripted Ollama behind it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from chat.models import Thread
from testing.fixtures.browsers import PROGRAM
from testing.mail import Mailbox
from testing.people import create_session, create_user
from testing.processes import Memcached, Server
from testing.scripted_ollama import ScriptedOllama

SECONDS = 20.0  # for a condition to hold, on a machine that is busy
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def mails() -> Iterator[Mailbox]:
    """The mail server of the page's server."""
    mailbox = Mailbox()
    mailbox.controller.start()
    yield mailbox
    mailbox.controller.stop()


@pytest.fixture(scope="session")
def page_environment(
    server_environment: dict[str, str], memcached: Memcached, mails: Mailbox
) -> dict[str, str]:
    """The settings of a server for a browser, which sends no Secure cookie over plain HTTP."""
    link = "http://127.0.0.1:{port}/#/reset/{{uid}}/{{token}}"
    return {
        **server_environment,
        "CACHE_LOCATION": memcached.location,
        "DEBUG": "true",
        "EMAIL_URL": mails.url,
        "PASSWORD_RESET_URL": link.format(port=1),  # a test takes what follows the host
    }


@pytest.fixture(scope="module")
def page_server(
    page_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with two workers; not for longer, or it would carry on other tests' replies."""
    with Server(tmp_path_factory.mktemp("page"), page_environment, workers=2) as server:
        yield server


@pytest.fixture(scope="module")
def browser(server_environment: dict[str, str]) -> Iterator[Browser]:
    """The browser of a file's tests."""
    if PROGRAM is None:
        pytest.skip("no chromium is installed")
    # Playwright seems to run an event loop in this thread, in which Django would not let the tests
    # use the database.
    with (
        mock.patch.dict(os.environ, DJANGO_ALLOW_ASYNC_UNSAFE="true"),
        sync_playwright() as started,
    ):
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = started.chromium.launch(executable_path=PROGRAM, args=flags)
        yield browser
        browser.close()


class Chat:
    """Somebody in front of the page, in a browser of their own."""

    def __init__(self, browser: Browser, url: str, **how: Any) -> None:
        self.url = url
        self.errors: list[str] = []
        self.context: BrowserContext = browser.new_context(**how)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
        self.context.set_default_timeout(SECONDS * 1000)
        self.page = self.new_window()

    def new_window(self) -> Page:
        """Open another window, whose errors are noted."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"{error}"))
        return page

    def log_in(self, name: str, **session: Any) -> None:
        """Create a user and log them in without the page."""
        self.user = create_user(name)
        key = create_session(self.user, **session)
        cookie = {"name": "sessionid", "value": key, "url": self.url}
        self.context.add_cookies([cookie])  # type: ignore[list-item]

    def thread(self, **fields: Any) -> Thread:
        """Create a thread without the page."""
        return Thread.objects.create(user=self.user, **{"model": "llama3.2:latest", **fields})

    def open(self, thread: Thread | None = None) -> "Chat":
        """Open the page, and wait until one can write."""
        self.page.goto(f"{self.url}/#/" + (f"thread/{thread.pk}" if thread else ""))
        expect(self.box).to_be_visible()
        if thread:
            title = thread.title or "New Chat"
            expect(self.page.get_by_role("heading", level=1, name=title)).to_be_visible()
        return self

    @property
    def box(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def questions(self) -> Locator:
        """The user's messages."""
        return self.page.locator("article.user .as-written")

    @property
    def answers(self) -> Locator:
        """The model's messages."""
        return self.page.locator("article.bot .markdown")

    @property
    def threads(self) -> Locator:
        """The conversations in the list."""
        return self.page.locator(".threads li")

    def button(self, name: str) -> Locator:
        """Return the last button of this name: the one of the newest message."""
        return self.page.get_by_role("button", name=name, exact=True).last

    def send(self, text: str) -> None:
        """Write a message and send it."""
        self.box.fill(text)
        self.box.press("Enter")

    def choose(self, button: str, choice: str) -> None:
        """Choose from a menu."""
        self.button(button).click()
        self.page.get_by_role("menuitem", name=choice, exact=True).click()

    def say(self, text: str, answer: str | None = None) -> None:
        """Send a message, and wait for the whole answer: by default the scripted Ollama's echo."""
        self.send(text)
        expect(self.answers.last).to_have_text(f"You said: {text}" if answer is None else answer)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait until no answer is being written."""
        expect(self.page.locator("article.writing")).to_have_count(0)
        expect(self.button("Send")).to_be_visible()

    def expect_note(self, text: str) -> None:
        """Wait for what is said above the box."""
        expect(self.page.locator(".note")).to_contain_text(re.compile(text))


@pytest.fixture
def visitor(
    page_server: Server, database: None, ollama: ScriptedOllama, browser: Browser
) -> Iterator[Chat]:
    """Somebody without an account."""
    chat = Chat(browser, page_server.url)
    yield chat
    chat.context.close()
    assert not chat.errors


@pytest.fixture
def chat(visitor: Chat) -> Chat:
    """Ann, who has just opened the page."""
    visitor.log_in("ann")
    return visitor.open()


@pytest.fixture(scope="session")
def axe(npm: None) -> str:
    """The source of axe-core."""
    root = Path(__file__).resolve().parents[2]
    return (root / "testing/javascript/node_modules/axe-core/axe.min.js").read_text()

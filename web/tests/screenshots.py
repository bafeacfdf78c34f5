"""Screenshots of all that the page and the admin show: `make screenshots`.

On a desktop and on a phone, light and dark, into `screenshots/`; those of the README go to
`docs/pictures/`. What cannot be seen fails, as in any test.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from accounts.models import Session
from chat.models import Message, Usage
from testing.people import PASSWORD, Caller, create_session, create_user
from testing.processes import ROOT, Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, sending
from testing.waiting import wait_until
from web.tests import sights
from web.tests.conftest import SECONDS, Chat

DIRECTORY = ROOT / "screenshots"  # not kept by git
PICTURES = ROOT / "docs" / "pictures"

CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile Safari/604.1"


class Look(NamedTuple):
    """A screen, and the colours that somebody prefers."""

    name: str
    scheme: Any
    size: tuple[int, int]
    is_phone: bool = False


LOOKS = [
    Look("desktop-light", "light", (1280, 800)),
    Look("desktop-dark", "dark", (1280, 800)),
    Look("phone-light", "light", (390, 844), is_phone=True),
    Look("phone-dark", "dark", (390, 844), is_phone=True),
]


class Stage(Chat):
    """Somebody in front of the page, who takes pictures."""

    def __init__(self, browser: Browser, url: str, look: Look) -> None:
        self.look = look
        width, height = look.size
        super().__init__(
            browser,
            url,
            viewport={"width": width, "height": height},
            color_scheme=look.scheme,
            reduced_motion="reduce",
            is_mobile=look.is_phone,
            has_touch=look.is_phone,
        )

    def snap(self, name: str, *, in_readme: str = "") -> None:
        """Take a picture; `in_readme` names the look whose picture stands in the README."""
        self.page.wait_for_function("() => [...document.images].every((image) => image.complete)")
        self.page.screenshot(path=DIRECTORY / self.look.name / f"{name}.png", animations="disabled")
        if in_readme == self.look.name:
            PICTURES.mkdir(exist_ok=True)
            devtools = self.context.new_cdp_session(self.page)
            how = {"format": "webp", "quality": 80}
            taken = devtools.send("Page.captureScreenshot", how)
            (PICTURES / f"{self.look.name}.webp").write_bytes(base64.b64decode(taken["data"]))

    def show_list(self) -> None:
        """Open the list of conversations, which stands beside them on a desktop."""
        if self.look.is_phone:
            self.button("Conversations").click()
            expect(self.page.get_by_role("searchbox")).to_be_visible()

    def at_thread(self, title: str) -> None:
        """Open a conversation of the list."""
        self.show_list()
        self.threads.get_by_role("link").filter(has_text=title).click()
        expect(self.page.get_by_role("heading", level=1, name=title)).to_be_visible()


@pytest.fixture(params=LOOKS, ids=[look.name for look in LOOKS])
def look(request: pytest.FixtureRequest) -> Look:
    """Each screen in both schemes."""
    look: Look = request.param
    return look


@pytest.fixture
def stage_at(
    look: Look, browser: Browser, database: None, ollama: ScriptedOllama
) -> Iterator[Callable[[str], Stage]]:
    """Somebody without an account in front of a server's page, whose model has good answers."""
    ollama.script = sights.script
    stages: list[Stage] = []

    def stage_at(url: str) -> Stage:
        stages.append(Stage(browser, url, look))
        return stages[-1]

    yield stage_at
    for stage in stages:
        stage.context.close()
        assert not stage.errors


@pytest.fixture
def stage(stage_at: Callable[[str], Stage], page_server: Server) -> Stage:
    """Ann, who has had some conversations, and opens the page."""
    stage = stage_at(page_server.url)
    stage.log_in("ann", user_agent=CHROMIUM)
    sights.converse(stage.url, stage.user)
    stage.open()
    return stage


def test_the_entrance(stage_at: Callable[[str], Stage], page_server: Server) -> None:
    stage = stage_at(page_server.url)
    page = stage.page
    page.goto(stage.url)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    stage.snap("entrance-log-in")
    page.get_by_label("Name or e-mail address").fill("ann")
    page.get_by_label("Password").fill("wrong")
    stage.button("Log in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    stage.snap("entrance-refused")
    page.get_by_role("link", name="Create an account").click()
    stage.snap("entrance-register")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("E-mail address").fill("ann@example.com")
    page.get_by_label("Password").fill("short")
    stage.button("Create account").click()
    expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    stage.snap("entrance-weak-password")
    page.goto(f"{stage.url}/#/forgot")
    expect(page.get_by_role("heading", name="A new password")).to_be_visible()
    stage.snap("entrance-forgotten")
    page.get_by_label("E-mail address").fill("ann@example.com")
    stage.button("Send the e-mail").click()
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    stage.snap("entrance-new-password")
    page.goto(f"{stage.url}/#/register")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("E-mail address").fill("ann@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    stage.button("Create account").click()
    expect(stage.box).to_be_visible()
    stage.snap("first-visit")
    stage.show_list()
    stage.snap("first-visit-list")


def test_a_conversation(stage: Stage, ollama: ScriptedOllama) -> None:
    page = stage.page
    stage.snap("new-conversation")
    stage.show_list()
    stage.snap("list")
    page.get_by_role("link", name="New conversation").click()
    page.locator(".model").click()
    page.get_by_label("Model", exact=True).select_option("thinker:latest")
    stage.button("Use these").click()
    ollama.script = partial(sights.script, hold_after=0)
    stage.box.fill(sights.QUESTION)
    stage.snap("question")
    stage.button("Send").click()
    expect(page.locator("summary", has_text="Thinking …")).to_be_visible()
    stage.snap("thinking")
    ollama.release()
    stage.wait_for_end()
    stage.snap("answer", in_readme="phone-light")
    page.locator("article.user").last.scroll_into_view_if_needed()
    page.locator(".scroller").evaluate("(element) => { element.scrollTop = 0; }")
    stage.snap("answer-beginning", in_readme="desktop-light")
    page.locator("summary:visible", has_text="Reasoning").click()
    stage.snap("reasoning", in_readme="desktop-dark")
    stage.button("More").click()
    stage.snap("menu-of-an-answer")
    page.keyboard.press("Escape")
    stage.button("Conversation").click()
    stage.snap("menu-of-a-conversation")
    page.keyboard.press("Escape")
    stage.show_list()
    stage.snap("list-beside-a-conversation")


def test_an_answer_is_streamed_and_stopped(stage: Stage, ollama: ScriptedOllama) -> None:
    ollama.script = partial(sights.script, hold_after=60)
    stage.box.fill(sights.QUESTION)
    stage.button("Send").click()
    expect(stage.answers.last.locator("table")).to_be_visible()
    stage.snap("streaming", in_readme="phone-dark")
    stage.show_list()
    stage.snap("streaming-list")
    if stage.look.is_phone:
        stage.page.keyboard.press("Escape")
    stage.button("Stop").click()
    expect(stage.page.get_by_text("Stopped.")).to_be_visible()
    stage.snap("stopped")


def test_editing_siblings_and_feedback(stage: Stage, ollama: ScriptedOllama) -> None:
    page = stage.page
    stage.at_thread("Why does my sourdough")
    page.locator("article.user").hover()
    stage.snap("hover")
    stage.button("Edit").click()
    expect(page.locator(".editing textarea")).to_be_focused()
    stage.snap("editing")
    page.locator(".editing textarea").fill(sights.SECOND)
    page.locator(".editing").get_by_role("button", name="Send").click()
    stage.wait_for_end()
    stage.button("Answer again").click()
    expect(page.locator(".siblings").last).to_have_text("2 / 2")
    stage.wait_for_end()
    stage.button("Good answer").click()
    expect(stage.button("Good answer")).to_have_attribute("aria-pressed", "true")
    stage.snap("siblings-and-feedback")
    stage.choose("More", "Answer again with another model")
    stage.snap("another-model")
    page.keyboard.press("Escape")
    stage.choose("More", "Delete from here on")
    stage.snap("delete-a-message")


def test_searching(stage: Stage) -> None:
    page = stage.page
    stage.show_list()
    search = page.get_by_role("searchbox")
    search.fill("too cold")
    expect(stage.threads.locator("mark").first).to_be_visible()
    stage.snap("search")
    search.fill("xylophone")
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    stage.snap("search-nothing")
    search.fill("too cold")
    expect(stage.threads.locator("mark").first).to_be_visible()
    stage.threads.get_by_role("link").filter(has=page.locator("mark")).first.click()
    expect(page.locator("article:focus")).to_be_visible()
    stage.snap("search-arrived")


def test_the_list(stage: Stage) -> None:
    page = stage.page
    stage.show_list()
    page.get_by_role("button", name="What to do with “Names for a grey cat”").click()
    stage.snap("menu-of-the-list")
    page.get_by_role("menuitem", name="Rename").click()
    stage.snap("rename")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="What to do with “Names for a grey cat”").click()
    page.get_by_role("menuitem", name="Delete").click()
    stage.snap("delete-a-conversation")
    page.keyboard.press("Escape")
    stage.button("ann").click()
    stage.snap("menu-of-the-account")
    page.get_by_role("menuitem", name="Archived conversations").click()
    expect(stage.threads).to_have_text(["Old tax questions"])
    stage.snap("archived")


def test_the_settings_of_a_conversation(stage: Stage) -> None:
    page = stage.page
    page.locator(".model").click()
    page.get_by_label("System prompt").fill("You are a patient teacher. Answer in two sentences.")
    page.get_by_label("Keep this conversation").select_option("temporary: for a day")
    stage.snap("settings")
    page.get_by_text("Options of the model").click()
    page.get_by_label("temperature").fill("0.4")
    stage.snap("settings-options")
    stage.button("Use these").click()
    stage.box.fill("What is a black hole?")
    stage.button("Send").click()
    stage.wait_for_end()
    stage.show_list()
    expect(stage.threads.filter(has_text="temporary")).to_be_visible()
    stage.snap("temporary")


def test_the_account(stage: Stage) -> None:
    page = stage.page
    for agent in (FIREFOX, IPHONE):
        session = {"user_agent": agent, "ip_address": "203.0.113.7"}
        create_session(stage.user, **session)
    stage.show_list()
    stage.choose("ann", "Account")
    dialog = page.get_by_role("dialog", name="account")
    stage.snap("account")
    sections = {
        "Where you are logged in": "sessions",
        "Tokens for scripts": "tokens",
        "What you have used": "use",
        "Change the password": "password",
        "Change the e-mail address": "address",
        "Delete the account": "delete",
    }
    for title, name in sections.items():
        dialog.locator("summary", has_text=title).click()
        if name == "sessions":
            expect(page.get_by_text("this one")).to_be_visible()
        if name == "use":
            expect(page.get_by_role("cell", name="30 days")).to_be_visible()
        if name == "tokens":
            page.get_by_label("What it is for").fill("Evening summary")
            stage.button("Create a token").click()
            expect(page.locator(".secret")).to_be_visible()
            expect(dialog.get_by_role("listitem")).not_to_have_count(0)
        stage.snap(f"account-{name}")
    stage.button("Delete the account").click()
    stage.snap("account-delete-sure")


def test_import(stage: Stage) -> None:
    page = stage.page
    stage.show_list()
    stage.choose("ann", "Import conversations")
    stage.snap("import")
    with Caller(stage.url, stage.user) as caller:
        export = caller.get("/auth/export/").content
    file = {"name": "export.ndjson", "mimeType": "application/x-ndjson", "buffer": export}
    page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]
    expect(page.get_by_role("dialog")).to_contain_text("were here already")
    stage.snap("import-done")


def test_trouble(stage: Stage, ollama: ScriptedOllama) -> None:
    page = stage.page
    stage.at_thread("Three days in Lisbon")
    ollama.scripts.append(Script(["Take ", "the ", "funicular"], then="die"))
    stage.box.fill("And on the second day?")
    stage.button("Send").click()
    expect(page.get_by_text("The model failed here.")).to_be_visible()
    stage.snap("trouble-model-failed")
    type(stage.user).objects.update(daily_tokens=1)
    stage.box.fill("And on the third?")
    stage.button("Send").click()
    stage.expect_note("You can go on in")
    stage.snap("trouble-allowance")
    type(stage.user).objects.update(daily_tokens=None)
    stage.page.goto(f"{stage.url}/#/thread/{stage.thread(title='Pirates', model='gone').pk}")
    expect(page.get_by_role("heading", level=1, name="Pirates")).to_be_visible()
    stage.box.fill("Tell me about pirates")
    stage.button("Send").click()
    stage.expect_note("pull")
    stage.snap("trouble-missing-model")
    page.goto(f"{stage.url}/#/thread/999999")
    expect(page.get_by_text("does not exist any more")).to_be_visible()
    stage.snap("trouble-no-such-conversation")
    stage.at_thread("Three days in Lisbon")
    stage.context.set_offline(True)
    stage.box.fill("Is the castle worth a visit?")
    stage.button("Send").click()
    expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    stage.snap("trouble-network-lost")
    stage.context.set_offline(False)
    stage.wait_for_end()
    stage.box.fill("Half a thought")
    Session.objects.all().delete()
    stage.button("Send").click()
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    stage.snap("trouble-session-ended")


def test_a_limit(
    stage_at: Callable[[str], Stage],
    start_server: StartServer,
    page_environment: dict[str, str],
) -> None:
    server = start_server(**{**page_environment, "RATE_LIMIT_CHAT": "1/h"})
    stage = stage_at(server.url)
    stage.log_in("ann")
    stage.open()
    for message in (sights.OTHERS[1][0], "And on the second day?"):
        stage.box.fill(message)
        stage.button("Send").click()
        stage.wait_for_end()
    stage.expect_note("You can go on in")
    stage.snap("trouble-limit")


def has_messages(number: int) -> bool:
    return Message.objects.count() == number


def test_the_queue(
    stage_at: Callable[[str], Stage],
    start_server: StartServer,
    page_environment: dict[str, str],
    ollama: ScriptedOllama,
) -> None:
    server = start_server(**{**page_environment, "OLLAMA_PARALLEL": "1"})
    ollama.script = Script(["one ", "two"], hold_after=1)
    stage = stage_at(server.url)
    stage.log_in("ann")
    with ExitStack() as stack:
        for number, name in enumerate(("bob", "carl"), start=1):
            other = stack.enter_context(Caller(server.url, create_user(name)))
            stack.enter_context(sending(other, other.thread(), "Count", **SSE))
            wait_until(partial(has_messages, 2 * number), SECONDS)
        stage.open()
        stage.box.fill(sights.QUESTION)
        stage.button("Send").click()
        expect(stage.page.get_by_text("1 before you")).to_be_visible()
        stage.snap("queue")
        ollama.release()


def test_the_smallest_and_the_widest_screen(stage: Stage) -> None:
    width, height = (360, 740) if stage.look.is_phone else (2560, 1300)
    stage.page.set_viewport_size({"width": width, "height": height})
    stage.box.fill(sights.QUESTION)
    stage.button("Send").click()
    stage.wait_for_end()
    stage.snap(f"width-{width}")
    stage.at_thread(sights.OTHERS[3][0])
    stage.snap(f"width-{width}-right-to-left")


def test_the_admin(stage: Stage, ollama: ScriptedOllama) -> None:
    page = stage.page
    page.goto(f"{stage.url}/admin/login/")
    stage.context.clear_cookies()
    page.goto(f"{stage.url}/admin/login/")
    stage.snap("admin-log-in")
    for name in ("bob", "carl", "dora"):
        create_user(name, daily_tokens=50_000 if name == "bob" else None)
    for agent in (FIREFOX, IPHONE):
        create_session(stage.user, user_agent=agent, ip_address="203.0.113.7")
    root = create_user("root", is_staff=True, is_superuser=True)
    key = create_session(root)
    cookie = {"name": "sessionid", "value": key, "url": stage.url}
    stage.context.add_cookies([cookie])  # type: ignore[list-item]
    thread = Message.objects.filter(content=sights.OTHERS[2][0]).get().thread_id
    for path, name in {
        "": "index",
        "accounts/user/": "users",
        f"accounts/user/{stage.user.pk}/change/": "user",
        "chat/thread/": "threads",
        f"chat/thread/{thread}/change/": "thread",
        "chat/usage/": "use",
    }.items():
        assert page.goto(f"{stage.url}/admin/{path}")
        stage.snap(f"admin-{name}")
        if name in ("user", "thread"):
            page.locator(".sessions, .conversation").scroll_into_view_if_needed()
            page.locator(".sessions, .conversation").evaluate("(e) => e.scrollIntoView()")
            stage.snap(f"admin-{name}-{'sessions' if name == 'user' else 'conversation'}")
    assert Usage.objects.exists()
    page.goto(f"{stage.url}/admin/chat/usage/now/")
    stage.snap("admin-what-runs-now")

"""The page for everybody: by keyboard, by screen reader, on any screen, in the dark."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from testing.processes import Server
from testing.scripted_ollama import Script, ScriptedOllama
from web.tests.conftest import Chat

WIDTHS = [360, 1280, 2560]


def problems(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    page_server: Server,
    database: None,
    ollama: ScriptedOllama,
    browser: Browser,
    axe: str,
    scheme: Any,
) -> None:
    ollama.script = Script(
        ["Some `code` and a [link](https://example.com/).\n\n```js\n1\n```\n\n|a|b|\n|-|-|\n|1|2|"]
    )
    chat = Chat(browser, page_server.url, color_scheme=scheme, reduced_motion="reduce")
    page = chat.page
    for form in ("", "register", "forgot", "reset"):
        page.goto(f"{chat.url}/#/{form}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert not problems(page, axe)
    chat.log_in("ann")
    chat.thread(title="Another one", pinned=True)
    page.reload()
    page.goto(f"{chat.url}/#/")
    expect(chat.threads).to_have_count(1)
    assert not problems(page, axe)
    chat.send("Hello")
    chat.wait_for_end()
    assert not problems(page, axe)
    chat.button("Conversation").click()
    assert not problems(page, axe)
    page.get_by_role("menuitem", name="Model and settings").click()
    page.get_by_text("Options of the model").click()
    assert not problems(page, axe)
    page.keyboard.press("Escape")
    chat.choose("ann", "Account")
    for section in page.get_by_role("dialog").locator("summary").all():
        section.click()
        assert not problems(page, axe)
    chat.context.close()
    assert not chat.errors


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_at_any_width(chat: Chat, ollama: ScriptedOllama, width: int) -> None:
    wide = (
        "|"
        + "wide column|" * 20
        + "\n|"
        + "-|" * 20
        + "\n\n```\n"
        + "x" * 500
        + "\n```\n\n"
        + "y" * 500
    )
    ollama.script = Script([wide])
    chat.page.set_viewport_size({"width": width, "height": 700})
    chat.send("A" * 300)
    chat.wait_for_end()

    assert chat.page.evaluate("document.documentElement.scrollWidth") == width
    scroller = chat.page.locator(".scroller")
    assert scroller.evaluate("(element) => element.scrollWidth <= element.clientWidth")
    expect(chat.button("Send")).to_be_in_viewport()
    expect(chat.button("Conversation")).to_be_in_viewport()


def test_all_can_be_done_by_keyboard(chat: Chat) -> None:
    page = chat.page
    expect(chat.box).to_be_focused()
    page.keyboard.type("Hello")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    page.keyboard.press("Enter")
    expect(chat.questions).to_have_text(["Hello\nthere"])
    chat.wait_for_end()
    expect(chat.box).to_be_focused()

    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(chat.threads.get_by_role("link")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Pin")).to_be_focused()
    page.keyboard.press("Escape")
    expect(chat.threads.get_by_role("button")).to_be_focused()

    page.keyboard.press("Control+Shift+O")
    expect(chat.box).to_be_focused()
    expect(chat.questions).to_have_count(0)
    page.keyboard.press("Shift+Tab")
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement !== document.body")


def test_a_dialog_keeps_the_focus_and_gives_it_back(chat: Chat) -> None:
    page = chat.page
    opener = page.locator(".model")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Model and settings")
    expect(dialog).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement.closest('dialog, body').matches('dialog, body')"
        )
    page.keyboard.press("Escape")

    expect(opener).to_be_focused()


def test_a_screen_reader_is_told_of_the_end_and_not_of_each_word(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.script = Script([f"{number} " for number in range(50)])
    chat.page.evaluate(
        """() => {
          window.told = [];
          const note = (records) => records.forEach(({ target }) => {
            const element = target.nodeType === 1 ? target : target.parentElement;
            const region = element?.closest("[role=status], [role=alert], [aria-live]");
            if (region?.textContent) window.told.push(region.textContent);
          });
          const all = { subtree: true, childList: true, characterData: true };
          new MutationObserver(note).observe(document.body, all);
        }"""
    )
    chat.send("Count")
    chat.wait_for_end()
    chat.page.wait_for_function("() => window.told.length > 0")

    assert chat.page.evaluate("window.told") == ["The answer is complete."]


def test_the_list_of_conversations_slides_in_on_a_phone(chat: Chat) -> None:
    page = chat.page
    page.set_viewport_size({"width": 390, "height": 800})
    chat.thread(title="An earlier one")
    page.reload()
    sidebar = page.get_by_role("navigation", name="Conversations")
    expect(sidebar).to_be_hidden()

    chat.button("Conversations").click()
    expect(sidebar).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    chat.threads.get_by_role("link").click()

    expect(sidebar).to_be_hidden()
    expect(page.get_by_role("heading", level=1, name="An earlier one")).to_be_visible()

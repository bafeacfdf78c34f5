"""Somebody waits for a model that answers somebody else."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from testing.processes import Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from web.tests.conftest import Chat


@pytest.fixture
def narrow(start_server: StartServer, page_environment: dict[str, str]) -> Server:
    """A server whose Ollama writes one reply at a time."""
    return start_server(**{**page_environment, "OLLAMA_PARALLEL": "1"})


@pytest.fixture
def people(narrow: Server, browser: Browser) -> Iterator[list[Chat]]:
    """Three people in front of its page."""
    chats = [Chat(browser, narrow.url) for _ in range(3)]
    for chat, name in zip(chats, ("ann", "bob", "carl"), strict=True):
        chat.log_in(name)
        chat.open()
    yield chats
    for chat in chats:
        chat.context.close()
        assert not chat.errors


def test_who_waits_sees_how_many_are_before_them_and_may_leave(
    people: list[Chat], ollama: ScriptedOllama
) -> None:
    ann, bob, carl = people
    ollama.script = Script(["one ", "two"], hold_after=1)
    ann.send("Count")
    expect(ann.answers).to_have_text("one")
    bob.send("Count")
    expect(bob.page.get_by_text("Your turn comes next")).to_be_visible()
    carl.send("Count")
    expect(carl.page.get_by_text("1 before you")).to_be_visible()

    bob.button("Stop").click()
    expect(carl.page.get_by_text("Your turn comes next")).to_be_visible()
    ollama.release()

    expect(ann.answers).to_have_text("one two")
    expect(carl.answers).to_have_text("one")
    ollama.release()
    expect(carl.answers).to_have_text("one two")
    bob.wait_for_end()

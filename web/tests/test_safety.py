"""What models and other sites' pages may not do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from accounts.models import Session, Token, User
from chat.models import Message, Sender, Thread
from testing.fixtures.browsers import Site
from testing.processes import Server
from testing.scripted_ollama import Script, ScriptedOllama
from web.tests.conftest import Chat

HERE = Path(__file__).parent
HOSTILE = (HERE / "hostile.md").read_text()
# What takes careless parsers minutes, or all of the stack.
SLOW = {
    "lists in lists": "".join(f"{' ' * 2 * depth}- a\n" for depth in range(1000)),
    "lists in one line": "- " * 500_000,
    "numbers in one line": "1. " * 16_000,
    "quotes": ">" * 49_000,
    "brackets": "[" * 49_000,
    "underscores": "_a" * 24_000,
    "a long address": "a" * 49_000 + "@",
    "a list": "- a\n" * 12_000,
    "angles": "<a " * 16_000,
    "a table": ("|a" * 300 + "\n" + "|-" * 300 + "\n" + ("|b" * 300 + "\n") * 70),
}


def test_nothing_in_an_answer_runs_or_is_loaded(chat: Chat, ollama: ScriptedOllama) -> None:
    requests: list[str] = []
    chat.page.on("request", lambda request: requests.append(request.url))
    ollama.script = Script([HOSTILE[at : at + 40] for at in range(0, len(HOSTILE), 40)])
    chat.send("<img src=x onerror=window.hacked=22>")
    chat.wait_for_end()
    expect(chat.answers.last).to_contain_text("and the end.")
    chat.page.reload()
    expect(chat.answers.last).to_contain_text("and the end.")

    assert chat.page.evaluate("window.hacked") is None
    assert [url for url in requests if not url.startswith(chat.url)] == []
    forbidden = (
        "script, img, svg, iframe, object, style, link, form, input, video, base, meta, math, [id],"
        "[style], [onclick]"
    )
    assert chat.answers.last.locator(".block").locator(forbidden).count() == 0
    links = chat.answers.last.locator("a").evaluate_all("(links) => links.map((link) => link.href)")
    assert all(link == "" or link.startswith("https://") for link in links), links
    expect(chat.threads).to_have_count(1)


def test_no_answer_is_too_much_for_the_page(visitor: Chat) -> None:
    visitor.log_in("ann")
    thread = visitor.thread(title="Slow")
    before = None
    for text in SLOW.values():
        sender = {"sender": Sender.BOT, "status": "complete", "model": "llama3.2"}
        question = Message.objects.create(
            thread=thread, parent=before, sender=Sender.USER, content="?"
        )
        before = Message.objects.create(thread=thread, parent=question, content=text, **sender)
    Thread.objects.filter(pk=thread.pk).update(current_message=before)

    visitor.page.goto(f"{visitor.url}/#/thread/{thread.pk}")

    expect(visitor.answers).to_have_count(len(SLOW), timeout=60_000)
    visitor.box.fill("Still here")
    expect(visitor.button("Send")).to_be_enabled()


ATTEMPTS = (HERE / "foreign_page.js").read_text()


@pytest.fixture
def foreign_page(site: Site, browser: Browser) -> Iterator[None]:
    """A page of another origin."""
    (site.directory / "index.html").write_text('<!doctype html><meta charset="utf-8"><body>')
    yield


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_foreign_page_may_do_nothing_with_the_user_s_cookies(
    chat: Chat, site: Site, foreign_page: None, host: str
) -> None:
    """From the same site, whose requests have the cookie, and from another one."""
    chat.say("Hello")
    thread = Thread.objects.get()
    page = chat.context.new_page()
    page.goto(site.origin.replace("localhost", host))
    before = everything()

    assert page.evaluate(ATTEMPTS, [chat.url, thread.pk]) == []

    assert everything() == before
    chat.say("Still logged in")


def everything() -> dict[str, Any]:
    """Return all that a forged call could have changed."""
    return {
        "users": list(User.objects.values("username", "email", "password")),
        "sessions": list(Session.objects.values_list("session_key", flat=True)),
        "tokens": Token.objects.count(),
        "threads": list(Thread.objects.values("title", "updated_at", "archived")),
        "messages": list(Message.objects.values("content", "status")),
    }


def test_the_page_refuses_what_its_policy_forbids(chat: Chat, page_server: Server) -> None:
    refused = chat.page.evaluate(
        """async () => {
          const violations = [];
          document.addEventListener("securitypolicyviolation", (event) => {
            violations.push(event.effectiveDirective);
          });
          const script = document.createElement("script");
          try { script.src = "https://elsewhere.example/" } catch { violations.push("script"); }
          const image = Object.assign(new Image(), { src: "https://elsewhere.example/image.png" });
          document.body.append(image);
          try { document.body.innerHTML += "<b>x</b>"; } catch { violations.push("trusted types"); }
          await fetch("https://elsewhere.example/").catch(() => {});
          await new Promise((done) => setTimeout(done, 200));
          return violations;
        }"""
    )

    assert {"script", "img-src", "connect-src", "trusted types"} <= set(refused)

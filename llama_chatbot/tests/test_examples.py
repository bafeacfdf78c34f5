"""The examples work, and show one whole answer though the server dies in the middle of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from chat.models import Thread
from testing.fixtures.browsers import Site
from testing.people import PASSWORD, Caller, create_user, token_of
from testing.processes import ROOT, Server, StartServer
from testing.replies import wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

EXAMPLES = ROOT / "examples"
SCRIPTS = ["chat.py", "openai_client.py"]
WORDS = ["one \U0001f999 ", "two ", "three"]
LONGEST_PAUSE = 8_000  # of the page, before it calls again: milliseconds
BEGINNING, WHOLE = "".join(WORDS[:2]), "".join(WORDS)


class Ended(NamedTuple):
    """What a script has written, and its exit code."""

    code: int
    output: str
    errors: str


@contextmanager
def running(script: str, server: Server, token: str, *questions: str) -> Iterator[list[Ended]]:
    """Run a script; how it ended is in the list, at the end."""
    ended: list[Ended] = []
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / script, *questions],
        env={**os.environ, "LLAMA_SERVER": server.url, "LLAMA_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield ended
        output, errors = process.communicate(timeout=60)
        ended.append(Ended(process.returncode, output, errors))
    finally:
        process.kill()
        process.communicate()


def kill_in_mid_answer(server: Server, ollama: ScriptedOllama) -> None:
    """Kill the server once the beginning of the reply is stored, and start it anew."""
    wait_until(Thread.objects.exists, 20)
    wait_until(lambda: Thread.objects.get().messages.filter(sender="bot"), 20)
    wait_for_text(Thread.objects.get(), BEGINNING)
    server.kill()
    server.start()
    ollama.release()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_answers(ann: Caller, server: Server, script: str) -> None:
    with running(script, server, token_of(ann), "Hello") as ended:
        pass

    assert ended == [Ended(0, "You said: Hello\n", "")]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_the_whole_answer_though_its_server_is_killed(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama, script: str
) -> None:
    ollama.script = Script(WORDS, hold_after=2)
    server = start_server()
    with running(script, server, token_of(ann), "Count") as ended:
        kill_in_mid_answer(server, ollama)

    assert ended == [Ended(0, f"{WHOLE}\n", "")]
    assert Thread.objects.get().messages.count() == 2


def test_openais_client_goes_on_with_the_conversation(ann: Caller, server: Server) -> None:
    with running("openai_client.py", server, token_of(ann), "Hello", "And?") as ended:
        pass

    assert ended[0].output == "You said: Hello\nYou said: And?\n"
    assert Thread.objects.get().messages.count() == 4


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_why_it_was_refused(server: Server, database: None, script: str) -> None:
    with running(script, server, "llama_wrong", "Hello") as ended:
        pass

    assert ended[0].code == 1
    assert "token" in ended[0].errors.splitlines()[-1].lower()


def test_the_page_shows_one_answer_over_a_reload_and_a_killed_server(
    page: Page,
    site: Site,
    database: None,
    start_server: StartServer,
    ollama: ScriptedOllama,
) -> None:
    create_user("ann")
    ollama.script = Script(WORDS, hold_after=2)
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    shutil.copy(EXAMPLES / "index.html", site.directory)
    messages = page.locator("main p")

    page.goto(f"{site.origin}/?server={server.url.replace('127.0.0.1', 'localhost')}")
    page.get_by_placeholder("Name").fill("ann")
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_placeholder("Say something").fill("Count")
    page.get_by_role("button", name="Send").click()
    expect(messages).to_have_text(["Count", BEGINNING])
    page.reload()
    expect(messages).to_have_text(["Count", BEGINNING])
    kill_in_mid_answer(server, ollama)
    expect(messages).to_have_text(["Count", WHOLE], timeout=LONGEST_PAUSE + 15_000)

    ollama.script = Script(["four ", "five"], hold_after=1)
    page.get_by_placeholder("Say something").fill("Go on")
    page.get_by_role("button", name="Send").click()
    expect(messages).to_have_text(["Count", WHOLE, "Go on", "four "])
    page.get_by_role("button", name="Stop").click()
    wait_until(lambda: not Thread.objects.get().messages.filter(status="generating"))
    expect(page.get_by_role("alert")).to_be_empty()
    assert Thread.objects.get().messages.count() == 4


def test_the_page_takes_back_what_is_void(
    page: Page, site: Site, database: None, start_server: StartServer
) -> None:
    """Its server is the page itself: these answers are the rarest of a real one."""
    shutil.copy(EXAMPLES / "index.html", site.directory)
    page.route("**/auth/status/", lambda route: route.fulfill(json={"authenticated": True}))
    page.route("**/chat/threads/?limit=1", lambda route: route.fulfill(json={"threads": []}))
    start = '{"type": "start", "thread_id": 1}\n'
    page.route(
        "**/chat/streaming-response/new/",
        lambda route: route.fulfill(
            body=start + '{"type": "delta", "text": "a\U0001f999bc", "offset": 4}\n'
        ),
    )
    page.route(
        "**/chat/streaming-response/1/?offset=4",
        lambda route: route.fulfill(
            body=start
            + '\n{"type": "rewind", "offset": 2}\n{"type": "delta", "text": "d", "offset": 3}\n'
            + '{"type": "end", "status": "complete"}\n'
        ),
    )

    page.goto(f"{site.origin}/?server=")
    page.get_by_placeholder("Say something").fill("Hello")
    page.get_by_role("button", name="Send").click()

    expect(page.locator("main p")).to_have_text(["Hello", "a\U0001f999d"])

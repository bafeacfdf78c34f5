"""Every piece of code and every command in the docs for front ends and scripts works as it is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from chat.models import Thread
from testing import javascript
from testing.fixtures.browsers import Site
from testing.people import Caller, create_user, token_of
from testing.processes import StartServer, free_port
from testing.replies import wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

CAN_SEND = "document.querySelector('form').onsubmit !== null"
FRONT_ENDS = javascript.ROOT / "docs" / "front-ends.md"
SCRIPTS = javascript.ROOT / "docs" / "scripts.md"
README = javascript.ROOT / "README.md"
CLIENT = javascript.ROOT / "clients" / "javascript"


@pytest.fixture
def reader(server_environment: dict[str, str], database: None) -> None:
    """Whoever reads the docs."""
    create_user("ann")


def ask(page: Page, message: str) -> None:
    page.get_by_label("Message").fill(message)
    page.get_by_role("button", name="Send").click()


def commands_of(text: str) -> list[str]:
    """Return the commands in the console blocks of a document, each with its further lines."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for command in re.split(r"^\$ ", block, flags=re.M)[1:]:
            first, *rest = command.splitlines()
            end = re.search(r"<<(\w+)$", first)
            lines = rest[: rest.index(end[1]) + 1] if end else []
            while [first, *lines][-1].endswith("\\"):
                lines.append(rest[len(lines)])
            found.append("\n".join([first, *lines]))
    return found


def run(command: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Run a command in a shell; return what it says."""
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", ["plain.html", "client.html"])
def test_a_page_of_the_docs_chats_from_another_origin(
    reader: None,
    page: Page,
    site: Site,
    start_server: StartServer,
    ollama: ScriptedOllama,
    name: str,
) -> None:
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    url = server.url.replace("127.0.0.1", "localhost")
    (site.directory / name).write_text(javascript.snippets(FRONT_ENDS)[name])
    shutil.copy(CLIENT / "client.js", site.directory)

    page.goto(f"{site.origin}/{name}?server={url}")
    wait_until(lambda: page.context.cookies(url), 10)
    page.wait_for_function(CAN_SEND)
    ask(page, "Hello")
    expect(page.locator("pre")).to_contain_text("You said: Hello")
    ask(page, "Again")
    expect(page.locator("pre")).to_contain_text("You said: Again")

    assert Thread.objects.get().messages.count() == 4


def test_the_client_of_the_docs_stops_and_survives_a_reload(
    reader: None, page: Page, site: Site, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    url = server.url.replace("127.0.0.1", "localhost")
    (site.directory / "client.html").write_text(javascript.snippets(FRONT_ENDS)["client.html"])
    shutil.copy(CLIENT / "client.js", site.directory)
    ollama.script = Script(["one ", "two"], hold_after=1)
    page.goto(f"{site.origin}/client.html?server={url}")
    page.wait_for_function(CAN_SEND)
    ask(page, "Count")
    expect(page.locator("pre")).to_have_text("one ")

    page.reload()
    expect(page.locator("pre")).to_have_text("one ")
    page.get_by_role("button", name="Stop").click()

    wait_for_status(Thread.objects.get(), "stopped")
    wait_for_text(Thread.objects.get(), "one ")


@contextmanager
def vite(directory: Path, server: str) -> Iterator[str]:
    """Serve a directory by Vite; the context is its origin."""
    port = free_port()
    program = str(javascript.NODE_MODULES / "vite" / "bin" / "vite.js")
    command = ["node", program, "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    environment = javascript.environment(SERVER=server)
    with (directory / "vite.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
        try:
            wait_until(lambda: "ready in" in (directory / "vite.log").read_text(), 30)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def test_a_page_behind_vites_proxy_chats_as_if_it_were_the_servers(
    npm: None, reader: None, page: Page, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(DEBUG="true")
    code = javascript.snippets(FRONT_ENDS)
    directory = tmp_path / "vite"
    directory.mkdir()
    (directory / "vite.config.js").write_text(code["vite.config.js"])
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "index.html").write_text(code["plain.html"])

    with vite(directory, server.url) as origin:
        page.goto(f"{origin}/")
        wait_until(lambda: page.context.cookies(origin), 10)
        ask(page, "Hello")
        expect(page.locator("pre")).to_contain_text("You said: Hello")


def test_the_trap_of_two_names_is_real_and_named(
    reader: None, page: Page, site: Site, start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    (site.directory / "index.html").write_text("<title>empty</title>")
    page.goto(f"{site.origin}/")  # of localhost; the server is called 127.0.0.1

    warning, status = page.evaluate(
        """async (server) => {
          const login = await fetch(server + "/auth/login/", {
            method: "POST", credentials: "include",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ username: "ann", password: "corr3ct-horse-battery" }),
          });
          const status = await fetch(server + "/auth/status/", { credentials: "include" });
          return [(await login.json()).warning, (await status.json()).authenticated];
        }""",
        server.url,
    )

    assert "two sites" in warning
    assert status is False


def test_the_example_of_the_javascript_client_runs(
    npm: None, reader: None, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server()
    ann = User.objects.get()
    ann.set_password("corr3ct-horse")
    ann.save()
    package = tmp_path / "node_modules" / "llama-chatbot-client"
    shutil.copytree(CLIENT, package)
    code = javascript.snippets(CLIENT / "README.md")["example.js"]
    (tmp_path / "example.mjs").write_text(code)

    wrote = javascript.run("node", tmp_path / "example.mjs", cwd=tmp_path, SERVER=server.url)

    assert wrote.splitlines()[-1].endswith("complete You said: Why is the sky blue?")


def test_the_walk_of_the_readme_works(
    start_server: StartServer, ollama: ScriptedOllama, tmp_path: Path
) -> None:
    server = start_server(DEBUG="true")
    walk, _ = README.read_text().split("The same with [HTTPie]")
    commands = commands_of(walk[walk.index("Register, log in") :])
    cut, whole = ["Light ", "has "], ["Light ", "has ", "many ", "colors"]
    ollama.scripts += [Script(["Sunlight"]), Script(["Dancers"]), Script(["Our eyes"])]
    ollama.scripts += [Script(cut, done_reason="length"), Script(whole)]
    said = []
    for command in commands:
        # The numbers of a new database are not those of this one.
        thread = Thread.objects.first()
        message = thread and thread.messages.order_by("pk").first()
        command = command.replace("$THREAD", str(thread and thread.pk))
        command = command.replace('"message_id": 1', f'"message_id": {message and message.pk}')
        command = command.replace("http://127.0.0.1:8000", server.url)
        said.append(run(command, tmp_path, javascript.environment()))

    registered, login, _new, _id, first, listed, again, edited, switched, short, rest = said
    assert "User created" in registered
    assert "Login successful" in login
    assert [first, again, edited, short, rest] == [
        "Sunlight",
        "Dancers",
        "Our eyes",
        "Light has ",
        "many colors",
    ]
    assert "Sunlight" in listed
    replies = list(Thread.objects.get().messages.filter(sender="bot").order_by("pk"))
    assert f'"current_message_id":{replies[1].pk}' in switched.replace(" ", "")
    assert [reply.content for reply in replies][-1] == "Light has many colors"


def test_the_commands_for_scripts_work(
    ann: Caller, start_server: StartServer, tmp_path: Path, ollama: ScriptedOllama
) -> None:
    server = start_server()
    environment = javascript.environment(
        SERVER=server.url,
        TOKEN=token_of(ann),
        LLM_USER_PATH=str(tmp_path),
        LLM_LOAD_PLUGINS="",
        HOME=str(tmp_path),
    )
    said = []
    for command in commands_of(SCRIPTS.read_text()):
        if "--schema" in command:
            ollama.script = Script(['{"colour": "blue", "reason": "light"}'])
        said.append(run(command, tmp_path, environment))

    login, token, whole, streamed, httpie, _key, _file, llm, colour = said
    assert '"Login successful"' in login
    assert '"token":"llama_' in token
    for answer in (whole, streamed, httpie, llm):
        assert "You said: Why is the sky blue?" in answer
    assert '"blue"' in colour
    assert list(ollama.chats[-1].body["format"]["properties"]) == ["colour", "reason"]


def test_the_script_with_openais_client_works(
    ann: Caller, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server()
    (tmp_path / "ask.py").write_text(javascript.snippets(SCRIPTS)["ask.py"])

    done = subprocess.run(
        [sys.executable, "ask.py"],
        cwd=tmp_path,
        env={**os.environ, "SERVER": server.url, "TOKEN": token_of(ann)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "You said: Why is the sky blue?",
        "You said: Why is the sky blue?",
        "You said: And at night?",
    ]

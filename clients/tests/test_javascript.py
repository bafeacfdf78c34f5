"""The JavaScript client as a package, and in a browser on another origin."""

import json
import re
import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

from clients.tests.in_node import AWKWARD, PACKAGE
from testing import javascript
from testing.fixtures.browsers import Site
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama

TYPES = (
    *("--allowJs", "--checkJs", "--noUncheckedIndexedAccess"),
    *("--declaration", "--emitDeclarationOnly"),
)


def test_its_types_are_those_of_its_code(npm: None, tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "client.js", tmp_path)
    made = [flag for flag in javascript.STRICT if flag != "--noEmit"]

    javascript.run("tsc", *made, *TYPES, tmp_path / "client.js")

    assert (tmp_path / "client.d.ts").read_text() == (PACKAGE / "client.d.ts").read_text()


def test_a_typed_program_compiles_with_the_client(npm: None, tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "llama-chatbot-client"
    shutil.copytree(PACKAGE, package)
    (tmp_path / "main.ts").write_text("""
        import { ChatError, Client, type Reply } from "llama-chatbot-client";
        const client = new Client({ server: "http://localhost:8000" });
        const reply: Reply = client.send(1, "Hello", { parent_id: null });
        for await (const event of reply) {
          if (event.type === "delta") console.log(event.text.length, event.offset.toFixed());
          // @ts-expect-error: it is not in all of them
          event.text;
        }
        const status: string = (await client.messages(1)).messages[0].status;
        export { ChatError, status };
    """)

    javascript.run("tsc", *javascript.STRICT, tmp_path / "main.ts")


def test_the_client_is_small_and_has_no_dependencies() -> None:
    code = (PACKAGE / "client.js").read_text()
    without_comments = re.sub(r"/\*\*.*?\*/|//[^\n]*", "", code, flags=re.DOTALL)

    assert 100 < len([line for line in without_comments.splitlines() if line.strip()]) <= 225
    assert "import " not in without_comments
    assert "dependencies" not in json.loads((PACKAGE / "package.json").read_text())


PAGE = """
import { Client } from "./client.js";
const params = new URLSearchParams(location.hash.slice(1));
const client = new Client({ server: params.get("server") });
const output = document.querySelector("output");
const read = async (reply) => {
  output.value = reply.text;
  for await (const event of reply) output.value = reply.text;
  document.title = reply.status;
};
if (!(await client.user())) await client.login("carl", params.get("password"));
const thread = (await client.threads()).threads[0] ?? (await client.newThread());
const last = (await client.messages(thread.id)).messages.at(-1);
await read(last ? client.follow(thread.id, last) : client.send(thread.id, "Count"));
"""


def open_page(page: Page, site: Site, server: Server, code: str) -> None:
    """Open a page of another origin than the server's, with the client and this code."""
    shutil.copy(PACKAGE / "client.js", site.directory)
    (site.directory / "page.js").write_text(code)
    (site.directory / "index.html").write_text(
        '<meta charset="utf-8"><title>-</title><pre><output></output></pre>'
        '<script type="module" src="page.js"></script>'
    )
    url = server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{site.origin}/#server={url}&password={PASSWORD}")


def test_a_page_on_another_origin_logs_in_sends_and_survives_a_reload(
    page: Page, site: Site, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    create_user("carl")
    ollama.script = Script(AWKWARD, hold_after=2)
    open_page(page, site, server, PAGE)
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD[:2]))
    page.reload()
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD[:2]))
    ollama.release()

    expect(page).to_have_title("complete")
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD))
    assert len(ollama.chats) == 1


NEWS = """
import { Client } from "./client.js";
const params = new URLSearchParams(location.hash.slice(1));
const client = new Client({ server: params.get("server") });
await client.login("carl", params.get("password"));
for await (const event of client.events()) {
  document.querySelector("output").value += `${event.type} `;
  if (event.type === "thread") document.title = event.title;
}
"""


def test_a_page_on_another_origin_hears_of_what_happens_elsewhere(
    page: Page, site: Site, start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    with Caller(server.url, create_user("carl")) as carl:
        open_page(page, site, server, NEWS)
        expect(page.locator("output")).to_have_js_property("value", "start ")

        carl.post("/chat/threads/new/", json={"title": "Llamas"})
        expect(page).to_have_title("Llamas")
        server.kill()
        server.start()
        carl.post("/chat/threads/new/", json={"title": "Alpacas"})
        expect(page).to_have_title("Alpacas", timeout=20_000)

    expect(page.locator("output")).to_have_js_property("value", "start thread thread ")

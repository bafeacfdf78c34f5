"""The JavaScript client, in Node and in a browser on another origin."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from chat.models import Thread
from testing import javascript
from testing.fixtures.browsers import Site
from testing.people import PASSWORD, Caller, create_user, token_of
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

PACKAGE = javascript.ROOT / "clients" / "javascript"
TYPES = (
    *("--allowJs", "--checkJs", "--noUncheckedIndexedAccess"),
    *("--declaration", "--emitDeclarationOnly"),
)
AWKWARD = ["one \U0001f999\n\n", "two\u2028", "three\u0085 ", "four"]

BEGINNING = f"""
import {{ ChatError, Client }} from {json.dumps(str(PACKAGE / "client.js"))};
const client = new Client({{ server: process.env.URL, token: process.env.TOKEN }});
const say = (value) => console.log(JSON.stringify(value));
"""


def environment(caller: Caller) -> dict[str, str]:
    return {"URL": str(caller.base_url).rstrip("/"), "TOKEN": token_of(caller)}


def run(caller: Caller, code: str) -> list[Any]:
    """Run a module with the client in Node; return what it says."""
    module = ("--input-type=module", "-e", BEGINNING + code)
    address = environment(caller)
    wrote = javascript.run("node", *module, URL=address["URL"], TOKEN=address["TOKEN"])
    return [json.loads(line) for line in wrote.split("\n") if line]


@contextmanager
def running(caller: Caller, code: str) -> Iterator[list[Any]]:
    """Run a module with the client in Node; what it says is in the list, all of it at the end."""
    said: list[Any] = []
    process = subprocess.Popen(
        ["node", "--input-type=module", "-e", BEGINNING + code],
        env={**javascript.environment(), **environment(caller)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    try:
        yield said
        said.extend(json.loads(line) for line in process.stdout)
        assert process.wait(20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_its_types_are_those_of_its_code(npm: None, tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "client.js", tmp_path)
    made = [flag for flag in javascript.STRICT if flag != "--noEmit"]

    javascript.run("tsc", *made, *TYPES, tmp_path / "client.js")

    assert (tmp_path / "client.d.ts").read_text() == (PACKAGE / "client.d.ts").read_text()


def test_a_typed_program_compiles_with_it(npm: None, tmp_path: Path) -> None:
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


def test_it_is_small_and_has_no_dependencies() -> None:
    code = (PACKAGE / "client.js").read_text()
    without_comments = re.sub(r"/\*\*.*?\*/|//.*", "", code, flags=re.DOTALL)

    assert len([line for line in without_comments.splitlines() if line.strip()]) <= 200
    assert "import " not in without_comments
    assert "dependencies" not in json.loads((PACKAGE / "package.json").read_text())


def test_threads_are_made_changed_listed_and_deleted(ann: Caller) -> None:
    (said,) = run(
        ann,
        """
        const thread = await client.newThread({ title: "Llamas" });
        const changed = await client.changeThread(thread.id, { title: "Alpacas" });
        const { threads } = await client.threads({ limit: 5 });
        await client.deleteThread(thread.id);
        const gone = await client.messages(thread.id).catch((error) => error);
        const models = await client.models();
        say([changed.title, threads.map(({ title }) => title), gone instanceof ChatError,
          gone.status, gone.code, models.default, (await client.user()).username]);
        """,
    )

    assert said == ["Alpacas", ["Alpacas"], True, 404, "not_found", "llama3.2:latest", "ann"]
    assert not Thread.objects.exists()


def test_a_reply_is_read_as_it_is_written(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread(model="thinker")
    ollama.script = Script(AWKWARD, thinking=["Hm."])

    (said,) = run(
        ann,
        f"""
        const reply = client.send({thread.pk}, "Count");
        const types = new Set();
        for await (const event of reply) types.add(event.type);
        say({{ text: reply.text, thinking: reply.thinking, status: reply.status, id: reply.id,
          thread: reply.thread, tokens: reply.usage.completion_tokens, types: [...types] }});
        """,
    )

    stored = reply_of(thread)
    assert said == {
        "text": "".join(AWKWARD),
        "thinking": "Hm.",
        "status": "complete",
        "id": stored.pk,
        "thread": thread.pk,
        "tokens": 5,
        "types": ["start", "thinking", "delta", "end"],
    }


def test_errors_are_of_one_class(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.scripts.extend([Script(status=500), Script(["one "], then="die")])

    (said,) = run(
        ann,
        f"""
        const failed = async (reply) => {{
          const error = await reply.whole().catch((error) => error);
          return [error instanceof ChatError, error.status, error.code, reply.text];
        }};
        const invalid = await client.newThread({{ model: "gpt" }}).catch((error) => error);
        say([
          await failed(client.send({thread.pk}, "Early")),
          await failed(client.send({thread.pk}, "Late")),
          await failed(client.send({thread.pk}, " ")),
          await failed(client.send(999999, "Hello")),
          Object.keys(invalid.fields),
        ]);
        """,
    )

    assert said == [
        [True, 0, "model_unavailable", ""],
        [True, 0, "model_unavailable", "one "],
        [True, 400, "invalid", ""],
        [True, 404, "not_found", ""],
        ["model"],
    ]


def test_it_stops_a_reply(ann: Caller, ollama: ScriptedOllama) -> None:
    thread = ann.thread()
    ollama.script = Script(["one ", "two"], hold_after=1)

    (said,) = run(
        ann,
        f"""
        const reply = client.send({thread.pk}, "Count");
        let stopped;
        for await (const event of reply) {{
          if (event.type === "delta") stopped = await client.stop({thread.pk});
        }}
        say([stopped, reply.status, reply.text, await client.stop({thread.pk})]);
        """,
    )

    assert said == [True, "stopped", "one ", False]


def test_a_thread_begins_with_its_message_and_its_reply_is_written_once_more_and_continued(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts.extend([Script(["one "]), Script(["two "], done_reason="length")])

    (said,) = run(
        ann,
        """
        const first = client.send("new", "Count", { title: "Numbers" });
        await first.whole();
        const second = client.regenerate(first.thread);
        await second.whole();
        const { messages } = await client.messages(first.thread);
        const third = client.continue(first.thread, messages.at(-1));
        const pieces = [];
        for await (const event of third) if (event.type === "delta") pieces.push(event.text);
        say([first.text, second.text, pieces.join(""), third.text, third.id === second.id]);
        """,
    )

    thread = Thread.objects.get()
    assert thread.title == "Numbers"
    first, second = thread.messages.filter(sender="bot").order_by("pk")
    assert first.parent_id == second.parent_id
    *texts, more, whole, is_same = said
    assert texts == ["one ", "two "]
    assert is_same
    assert whole == f"two {more}" == second.content
    assert more


def test_who_leaves_the_loop_leaves_the_reply_to_others(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread()
    ollama.script = Script(["one ", "two"], hold_after=1)

    run(
        ann,
        f"""
        for await (const event of client.send({thread.pk}, "Count")) {{
          if (event.type === "delta") break;
        }}
        """,
    )
    (message,) = [
        message
        for message in ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
        if message["sender"] == "bot"
    ]
    assert message["status"] == "generating"
    with running(
        ann,
        f"""
        const {{ messages }} = await client.messages({thread.pk});
        const before = messages.at(-1).content;
        const reply = client.follow({thread.pk}, messages.at(-1));
        const pieces = [];
        for await (const event of reply) if (event.type === "delta") pieces.push(event.text);
        say([before + pieces.join(""), reply.text]);
        """,
    ) as said:
        wait_for_text(thread, "one ")
        ollama.release()

    assert said == [["one two", "one two"]]


def test_it_goes_on_after_its_worker_was_killed(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server()
    thread = ann.thread()
    ollama.script = Script(AWKWARD, hold_after=2)
    with (
        Caller(server.url, ann.user) as caller,
        running(
            caller,
            f"""
            const reply = client.send({thread.pk}, "Count");
            let starts = 0;
            for await (const event of reply) starts += event.type === "start";
            say([reply.text, reply.status, starts]);
            """,
        ) as said,
    ):
        wait_until(lambda: Thread.objects.filter(messages__content="".join(AWKWARD[:2])), 20)
        server.kill()
        server.start()
        ollama.release()
        wait_for_status(thread, "complete", 30)

    assert said == [["".join(AWKWARD), "complete", 1]]
    assert thread.messages.count() == 2


def test_a_send_that_never_arrived_is_repeated_once_there_is_a_server(
    ann: Caller, start_server: StartServer
) -> None:
    server = start_server()
    thread = ann.thread()
    server.kill()
    with (
        Caller(server.url, ann.user) as caller,
        running(caller, f'say(await client.send({thread.pk}, "Hello").whole());') as said,
    ):
        server.start()

    assert said == ["You said: Hello"]
    assert thread.messages.count() == 2


def test_a_rewind_takes_back_what_is_void(tmp_path: Path) -> None:
    code = """
    const lines = (...events) => new Response(
      events.map((event) => JSON.stringify(event) + "\\n").join("\\n"));
    const start = { type: "start", reply_id: 2, message_id: 1, thread_id: 1 };
    const answers = [
      lines(start, { type: "delta", text: "a\U0001f999bc", offset: 4 }),
      lines(start, { type: "rewind", offset: 2 }, { type: "delta", text: "d", offset: 3 },
        { type: "end", status: "complete", usage: null }),
    ];
    const asked = [];
    const mock = async (url) => { asked.push(url); return answers.shift(); };
    const reply = new Client({ fetch: mock }).send(1, "Hello");
    const texts = [];
    for await (const event of reply) texts.push(reply.text);
    say([texts, asked]);
    """
    wrote = javascript.run("node", "--input-type=module", "-e", BEGINNING + code)

    texts, asked = json.loads(wrote)
    assert texts == ["", "a\U0001f999bc", "a\U0001f999", "a\U0001f999d", "a\U0001f999d"]
    assert asked == ["/chat/streaming-response/1/", "/chat/streaming-response/1/?offset=4"]


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


def test_a_page_on_another_origin_logs_in_sends_and_survives_a_reload(
    page: Page, site: Site, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server: Server = start_server(DEBUG="true", FRONTEND_ORIGINS=site.origin)
    create_user("carl")
    ollama.script = Script(AWKWARD, hold_after=2)
    shutil.copy(PACKAGE / "client.js", site.directory)
    (site.directory / "page.js").write_text(PAGE)
    (site.directory / "index.html").write_text(
        '<meta charset="utf-8"><title>-</title><pre><output></output></pre>'
        '<script type="module" src="page.js"></script>'
    )
    url = server.url.replace("127.0.0.1", "localhost")

    page.goto(f"{site.origin}/#server={url}&password={PASSWORD}")
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD[:2]))
    page.reload()
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD[:2]))
    ollama.release()

    expect(page).to_have_title("complete")
    expect(page.locator("output")).to_have_js_property("value", "".join(AWKWARD))
    assert len(ollama.chats) == 1

"""The JavaScript client, in Node, goes on by itself over whatever cuts its connections."""

import json
from pathlib import Path

import pytest

from chat.models import Thread
from clients.tests.gateways import GATEWAYS, nginx
from clients.tests.in_node import AWKWARD, BEGINNING, run, running
from testing import javascript
from testing.people import Caller
from testing.processes import StartServer
from testing.replies import wait_for_status, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until


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


def test_the_client_goes_on_after_its_worker_was_killed(
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


def test_a_rewind_takes_back_what_is_void(npm: None) -> None:
    code = """
    const lines = (...events) => new Response(
      events.map((event) => JSON.stringify(event) + "\\n").join("\\n"),
      { headers: { "Content-Type": "application/x-ndjson" } });
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


def test_the_client_hears_of_all_that_happens_to_the_threads(ann: Caller) -> None:
    with running(
        ann,
        """
        const types = [];
        const end = new AbortController();
        for await (const event of client.events(end.signal)) {
          types.push(event.type);
          if (event.type === "start") say((await client.newThread({ title: "Llamas" })).id);
          if (event.type === "thread" && !event.running_reply_id && event.preview === "") {
            await client.send(event.id, "Hello").whole();
          }
          if (event.type === "reply_ended") {
            say(event.status);
            await client.deleteThread(event.thread_id);
          }
          if (event.type === "thread_deleted") end.abort();
        }
        say(types.filter((type) => type !== "thread"));
        """,
    ) as said:
        pass

    _id, status, types = said
    assert status == "complete"
    assert types == ["start", "reply_started", "reply_ended", "thread_deleted"]


def test_a_restart_costs_no_event(ann: Caller, start_server: StartServer) -> None:
    server = start_server()
    with (
        Caller(server.url, ann.user) as caller,
        running(
            caller,
            """
            const said = [];
            for await (const event of client.events()) {
              said.push(event.title ?? event.type);
              // The answer may be lost with the server.
              if (event.type === "start") client.newThread({ title: "One" }).catch(() => {});
              if (event.title === "Three") break;
            }
            say(said);
            """,
        ) as said,
    ):
        wait_until(Thread.objects.exists, 20)
        server.kill()
        ann.post("/chat/threads/new/", json={"title": "Two"})
        server.start()
        ann.post("/chat/threads/new/", json={"title": "Three"})

    assert said == [["start", "One", "Two", "Three"]]


def test_events_end_with_the_login(ann: Caller) -> None:
    assert ann.user
    with running(
        ann,
        """
        try {
          for await (const event of client.events()) {
            if (event.type === "start") await client.newThread();
          }
        } catch (error) {
          say([error instanceof ChatError, error.code]);
        }
        """,
    ) as said:
        wait_until(Thread.objects.exists, 20)
        ann.user.tokens.all().delete()

    assert said == [[True, "not_authenticated"]]


def test_the_client_goes_on_behind_a_gateway_whose_server_restarts(
    ann: Caller, start_server: StartServer, ollama: ScriptedOllama, tmp_path: Path
) -> None:
    server = start_server()
    thread = ann.thread()
    ollama.script = Script(AWKWARD, hold_after=2)
    with (
        nginx(tmp_path, server) as gateway,
        Caller(gateway.url, ann.user) as caller,
        running(
            caller,
            f"""
            const reply = client.send({thread.pk}, "Count");
            say([await reply.whole(), reply.status]);
            """,
        ) as said,
    ):
        wait_until(lambda: Thread.objects.filter(messages__content="".join(AWKWARD[:2])), 20)
        server.kill()
        wait_until(gateway.refusals, 20)
        server.start()
        ollama.release()
        wait_for_status(thread, "complete", 30)

    assert said == [["".join(AWKWARD), "complete"]]
    assert thread.messages.count() == 2


@pytest.mark.parametrize("name", sorted(GATEWAYS))
def test_a_send_that_only_a_gateway_heard_is_repeated(
    npm: None, ann: Caller, start_server: StartServer, tmp_path: Path, name: str
) -> None:
    server = start_server()
    thread = ann.thread()
    server.kill()
    with (
        GATEWAYS[name](tmp_path, server) as gateway,
        Caller(gateway.url, ann.user) as caller,
        running(caller, f'say(await client.send({thread.pk}, "Hello").whole());') as said,
    ):
        wait_until(gateway.refusals, 20)
        server.start()

    assert said == ["You said: Hello"]
    assert thread.messages.count() == 2


def test_what_is_not_safe_to_repeat_is_not_repeated(npm: None) -> None:
    code = """
    let calls = 0;
    const mock = async () => {
      calls += 1;
      return new Response("<h1>Bad gateway</h1>", { status: 502 });
    };
    const reply = { id: 2, content: "one ", status: "stopped" };
    const more = new Client({ fetch: mock }).continue(1, reply);
    const error = await more.whole().catch((error) => error);
    say([error instanceof ChatError, error.status, error.code, more.status, calls]);
    """
    wrote = javascript.run("node", "--input-type=module", "-e", BEGINNING + code)

    assert json.loads(wrote) == [True, 502, "unreadable", "stopped", 1]


def test_a_reply_that_its_server_did_not_survive_is_interrupted(npm: None) -> None:
    code = """
    const events = [
      { type: "start", reply_id: 2, message_id: 1, thread_id: 1 },
      { type: "delta", text: "one ", offset: 4 },
      { type: "error", error: "It stopped.", code: "reply_interrupted", reply_kept: true },
    ];
    const written = events.map((event) => JSON.stringify(event) + "\\n").join("");
    const headers = { "Content-Type": "application/x-ndjson" };
    const mock = async () => new Response(written, { headers });
    const reply = new Client({ fetch: mock }).send(1, "Count");
    const error = await reply.whole().catch((error) => error);
    say([error.code, error.replyKept, reply.status, reply.text]);
    """
    wrote = javascript.run("node", "--input-type=module", "-e", BEGINNING + code)

    assert json.loads(wrote) == ["reply_interrupted", True, "interrupted", "one "]

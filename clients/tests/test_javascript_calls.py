"""The JavaScript client's calls, in Node."""

from chat.models import Thread
from clients.tests.in_node import AWKWARD, in_node, run
from testing.people import PASSWORD, Caller
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama


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
          return [error instanceof ChatError, error.status, error.code, reply.text, reply.status];
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
        [True, 0, "model_unavailable", "", "failed"],
        [True, 0, "model_unavailable", "one ", "failed"],
        [True, 400, "invalid", "", "failed"],
        [True, 404, "not_found", "", "failed"],
        ["model"],
    ]


def test_the_client_stops_a_reply(ann: Caller, ollama: ScriptedOllama) -> None:
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


def test_a_missing_server_and_a_foreign_answer_are_errors_of_the_same_class(npm: None) -> None:
    (said,) = in_node(
        """
        import http from "node:http";
        const answers = [
          (answer) => answer.end("<h1>Hello</h1>"),
          (answer) => answer.writeHead(502).end("<h1>Bad gateway</h1>"),
          (answer) => { answer.write('{"user": '); setTimeout(() => answer.destroy(), 50); },
          (answer) => answer.end("<h1>Hello</h1>"), // to a send
        ];
        const host = http.createServer((_, answer) => answers.shift()(answer));
        await new Promise((begun) => host.listen(0, "127.0.0.1", begun));
        const client = new Client({ server: `http://127.0.0.1:${host.address().port}` });
        const caught = async (call) => {
          const error = await call.catch((error) => error);
          return [error instanceof ChatError, error.status, error.code];
        };
        const errors = [];
        for (let calls = 0; calls < 3; calls += 1) errors.push(await caught(client.user()));
        errors.push(await caught(client.send(1, "Hello").whole()));
        host.close();
        errors.push(await caught(client.user()));
        const none = await client.user().catch((error) => error);
        const aborted = await client.call("GET", "/auth/status/", { signal: AbortSignal.abort() })
          .catch((error) => error);
        say([...errors, none.cause.message, aborted.name]);
        """
    )

    assert said == [
        [True, 200, "unreadable"],
        [True, 502, "unreadable"],
        [True, 0, "unreachable"],
        [True, 200, "unreadable"],
        [True, 0, "unreachable"],
        "fetch failed",
        "AbortError",
    ]


def test_the_client_stays_logged_in_without_a_browser_until_it_logs_out(ann: Caller) -> None:
    (said,) = in_node(
        f"""
        const client = new Client({{ server: process.env.URL }});
        const names = [await client.user()];
        await client.login("ann", "{PASSWORD}");
        names.push((await client.user()).username, (await client.threads()).threads.length);
        await client.logout();
        names.push(await client.user());
        say(names);
        """,
        URL=str(ann.base_url).rstrip("/"),
    )

    assert said == [None, "ann", 0, None]

"""The JavaScript client's calls, in Node."""

from chat.models import Thread
from clients.tests.in_node import AWKWARD, run
from testing.people import Caller
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

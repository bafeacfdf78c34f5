"""OpenAI's own client for JavaScript."""

import json
from typing import Any

from chat.models import Thread
from testing import javascript
from testing.people import Caller, token_of
from testing.processes import StartServer
from testing.replies import wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama

BEGINNING = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.env.URL, apiKey: process.env.KEY, maxRetries: 0 });
"""


def run(caller: Caller, code: str) -> Any:
    """Run a module with the client; return the JSON that it writes."""
    url = f"{str(caller.base_url).rstrip('/')}/v1"
    module = ("--input-type=module", "-e", BEGINNING + code)
    return json.loads(javascript.run("node", *module, URL=url, KEY=token_of(caller)))


def test_completions_are_streamed_and_whole(npm: None, ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"])

    answer = run(
        ann,
        """
        const messages = [{ role: "user", content: "Count" }];
        const models = (await client.models.list()).data.map((model) => model.id);
        const whole = await client.chat.completions.create({ model: models[0], messages });
        let streamed = "";
        const stream = await client.chat.completions.create(
          { model: models[0], messages, stream: true, stream_options: { include_usage: true } });
        let usage;
        for await (const chunk of stream) {
          streamed += chunk.choices[0]?.delta.content ?? "";
          usage = chunk.usage;
        }
        const code = await client.chat.completions.create({ model: "gpt-9", messages })
          .catch((error) => error.code);
        const whole_text = whole.choices[0].message.content;
        console.log(JSON.stringify({ whole_text, streamed, usage, code }));
        """,
    )

    assert answer["whole_text"] == answer["streamed"] == "one two"
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["code"] == "model_not_found"


def test_responses_go_on_after_a_killed_worker(
    npm: None, ann: Caller, start_server: StartServer, ollama: ScriptedOllama
) -> None:
    server = start_server()
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)
    with Caller(server.url, ann.user) as caller:
        begun = run(
            caller,
            """
            const stream = await client.responses.create(
              { model: "llama3.2", input: "Count", stream: true, background: true });
            let text = "", id, last;
            for await (const event of stream) {
              id ??= event.response.id;
              if (event.type === "response.output_text.delta") text += event.delta;
              last = event.sequence_number;
              if (text === "one two ") break;
            }
            console.log(JSON.stringify({ text, id, last }));
            """,
        )
        wait_for_text(Thread.objects.get(), "one two ")
        server.kill()
        server.start()
        ollama.release()
        ended = run(
            caller,
            f"""
            const [id, starting_after] = ["{begun["id"]}", {begun["last"]}];
            """
            """
            let text = "", whole;
            const stream = await client.responses.retrieve(id, { stream: true, starting_after });
            for await (const event of stream) {
              if (event.type === "response.output_text.delta") text += event.delta;
              whole = event.response?.output[0].content[0].text;
            }
            const next = await client.responses.create(
              { input: "Again", previous_response_id: id, background: true });
            const cancelled = (await client.responses.cancel(next.id)).status;
            await client.responses.delete(next.id);
            console.log(JSON.stringify({ text, whole, cancelled }));
            """,
        )

    assert begun["text"] + ended["text"] == ended["whole"] == "one two three"
    assert ended["cancelled"] == "cancelled"

"""OpenAI's own client for JavaScript."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chat.models import Thread
from testing import javascript
from testing.fixtures.browsers import Site
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


@pytest.mark.parametrize("model", ["llama3.2", "thinker"])
def test_the_ai_sdks_provider_continues_a_conversation(
    npm: None, ann: Caller, ollama: ScriptedOllama, model: str
) -> None:
    """It sends what the user has said, and names what the model has."""
    ollama.scripts += [Script(["Hello Ann."], thinking=["Hm."] if model == "thinker" else [])]
    ollama.scripts += [Script(["Ann, "]), Script(["still Ann."])]

    told = run(
        ann,
        f"""
        import {{ createOpenAI }} from "@ai-sdk/openai";
        import {{ generateText, streamText }} from "ai";
        const openai = createOpenAI({{ baseURL: process.env.URL, apiKey: process.env.KEY }});
        const model = openai("{model}");
        """
        """
        const system = "Be brief.";
        let messages = [{ role: "user", content: "My name is Ann." }];
        const first = await generateText({ model, system, messages, maxRetries: 0 });
        messages = [...messages, ...first.response.messages, { role: "user", content: "And?" }];
        const second = await generateText({ model, system, messages, maxRetries: 0 });
        messages = [...messages, ...second.response.messages, { role: "user", content: "So?" }];
        const third = streamText({ model, system, messages, maxRetries: 0 });
        let streamed = "";
        for await (const piece of third.textStream) streamed += piece;
        console.log(JSON.stringify([first.text, second.text, streamed]));
        """,
    )

    assert told == ["Hello Ann.", "Ann, ", "still Ann."]
    assert [(m["role"], m["content"]) for m in ollama.chats[-1].messages] == [
        ("system", "Be brief."),
        ("user", "My name is Ann."),
        ("assistant", "Hello Ann."),
        ("user", "And?"),
        ("assistant", "Ann, "),
        ("user", "So?"),
    ]
    assert Thread.objects.count() == 1


IN_A_PAGE = """
import OpenAI from "openai";
const [baseURL, apiKey] = location.hash.slice(1).split(",");
const client = new OpenAI({ baseURL, apiKey, dangerouslyAllowBrowser: true, timeout: 9000 });
const asked = { model: "llama3.2", messages: [{ role: "user", content: "Count" }] };
const said = [(await client.chat.completions.create(asked)).choices[0].message.content];
said.push(await client.chat.completions.stream(asked).finalContent());
const stream = await client.responses.create(
  { model: "llama3.2", input: "Count", stream: true }, { idempotencyKey: "one" });
let text = "";
for await (const event of stream) text += event.delta ?? "";
said.push(text);
document.title = said.join();
"""


def test_a_page_on_another_origin_uses_the_client(
    npm: None,
    page: Page,
    site: Site,
    ann: Caller,
    start_server: StartServer,
    ollama: ScriptedOllama,
    tmp_path: Path,
) -> None:
    server = start_server(FRONTEND_ORIGINS=site.origin)
    ollama.script = Script(["one ", "two"])
    (tmp_path / "main.js").write_text(IN_A_PAGE)
    javascript.esbuild(tmp_path / "main.js", site.directory / "page.js")
    (site.directory / "index.html").write_text('<script type="module" src="page.js"></script>')

    page.goto(f"{site.origin}/#{server.url}/v1,{token_of(ann)}")

    expect(page).to_have_title("one two,one two,one two")

"""OpenAI's own client for JavaScript."""

import json
from typing import Any

from testing import javascript
from testing.people import Caller, token_of
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

"""The scripted Ollama renders prompts and carries replies on as the real one does."""

from collections.abc import Iterator
from typing import Any

import ollama as official
import pytest

from testing.scripted_ollama import ModelInfo, Script, ScriptedOllama

HELLO = [{"role": "user", "content": "Count."}]
COUNT = Script(["one ", "two ", "three ", "four"])
CHATML = "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def client(ollama: ScriptedOllama) -> Iterator[official.Client]:
    ollama.script = COUNT
    for template in ("chatml", "llama3", "native", "harmony", "always-thinks"):
        capabilities = ("completion", "thinking") if "think" in template else ("completion",)
        ollama.models[f"{template}:latest"] = ModelInfo(
            template=template,
            capabilities=capabilities,
        )
    with official.Client(ollama.url, timeout=10, trust_env=False) as client:
        yield client


def render(client: official.Client, model: str, **more: Any) -> str:
    body = {"model": model, "messages": HELLO, "_debug_render_only": True, **more}
    answer = client._client.post("/api/chat", json=body).json()
    assert answer["done"] is False
    return str(answer["_debug_info"]["rendered_template"])


def go_on(client: official.Client, model: str, prompt: str) -> str:
    return client.generate(model, prompt, raw=True).response or ""


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("chatml", CHATML),
        (
            "llama3",
            "<|start_header_id|>user<|end_header_id|>\n\nCount.<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("harmony", "<|start|>user<|message|>Count.<|end|><|start|>assistant"),
        ("always-thinks", f"{CHATML}<think>\n"),
    ],
)
def test_a_prompt_can_be_rendered_without_an_answer(
    ollama: ScriptedOllama, client: official.Client, model: str, expected: str
) -> None:
    assert render(client, model) == expected
    assert not ollama.chats


def test_a_thinking_models_prompt_can_close_the_thoughts(client: official.Client) -> None:
    assert render(client, "thinker", think=False) == f"{CHATML}<think>\n\n</think>\n\n"
    assert render(client, "thinker") == CHATML


def test_an_ollama_that_does_not_know_the_field_answers(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.renders = False
    body = {"model": "chatml", "messages": HELLO, "_debug_render_only": True, "stream": False}

    answer = client._client.post("/api/chat", json=body).json()

    assert answer["message"]["content"] == "one two three four"


@pytest.mark.parametrize("written", ["one two ", "one t", "one two three fou"])
def test_a_raw_prompt_is_carried_on_from_its_last_character(
    ollama: ScriptedOllama, client: official.Client, written: str
) -> None:
    for model in ("chatml", "llama3", "native"):
        assert written + go_on(client, model, render(client, model) + written) == (
            "one two three four"
        )
    assert ollama.chats[-1].continues == written
    assert ollama.chats[-1].messages == HELLO


def test_a_reply_of_harmony_is_carried_on_in_its_channel(client: official.Client) -> None:
    prompt = f"{render(client, 'harmony')}<|channel|>final<|message|>one "

    assert go_on(client, "harmony", prompt) == "two three four"
    assert go_on(client, "harmony", f"{render(client, 'harmony')}one ") == "one two three four"


def test_a_reply_is_carried_on_only_outside_of_thoughts(client: official.Client) -> None:
    prompt = render(client, "always-thinks")

    assert go_on(client, "always-thinks", f"{prompt}\n</think>\n\none ") == "two three four"
    assert go_on(client, "always-thinks", f"{prompt}one ") == "one two three four"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("chatml", "one two three four"),  # a new answer
        ("llama3", "three four"),
        ("native", "one two three four"),  # what was written, and then the rest
    ],
)
def test_an_open_message_is_carried_on_as_the_template_has_it(
    client: official.Client, model: str, expected: str
) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "one two "}]

    assert client.chat(model, messages).message.content == expected


def test_a_carried_on_answer_passes_a_hold_that_it_had_reached(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.script = Script(COUNT.tokens, hold_after=2)

    assert go_on(client, "chatml", f"{CHATML}one two ") == "three four"


def test_the_cache_holds_what_was_written(client: official.Client) -> None:
    client.chat("chatml", HELLO)

    body = {"model": "chatml", "prompt": f"{CHATML}one two ", "raw": True, "stream": False}
    answer = client._client.post("/api/generate", json=body).json()

    assert answer["prompt_eval_count"] == 6 + 2 + 2
    assert answer["prompt_eval_cached_count"] == answer["prompt_eval_count"] - 1

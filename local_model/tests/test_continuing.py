"""Prompts that are rendered only, and replies that are carried on from their last character."""

from typing import Any

import httpx
import ollama
import pytest

from testing.processes.bundled_model import BUNDLED_MODEL, Running

STORY = [{"role": "user", "content": "Tell me a story about a llama in the Andes."}]
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 7, "num_predict": 60}
BEGINNING = "<|im_start|>assistant\n"


@pytest.fixture
def prompt(server: Running) -> str:
    """The prompt of the story, as the model gets it."""
    body = {"model": BUNDLED_MODEL, "messages": STORY, "_debug_render_only": True, "stream": False}
    answer = httpx.post(f"{server.url}/api/chat", json=body, timeout=60).json()
    assert "eval_count" not in answer
    return str(answer["_debug_info"]["rendered_template"])


def test_a_prompt_is_rendered_up_to_where_the_model_writes(prompt: str) -> None:
    assert prompt.startswith("<|im_start|>system\n")
    assert prompt.endswith(f"{STORY[0]['content']}<|im_end|>\n{BEGINNING}")


@pytest.mark.parametrize("pieces", [1, 7, 30, 59])
def test_a_reply_is_carried_on_as_if_nothing_had_happened(
    client: ollama.Client, prompt: str, pieces: int
) -> None:
    whole = [
        part.message.content or ""
        for part in client.chat(BUNDLED_MODEL, STORY, stream=True, options=GREEDY)
    ]
    written = "".join(whole[:pieces])

    options = {**GREEDY, "num_predict": 60 - pieces}
    rest = client.generate(BUNDLED_MODEL, prompt + written, raw=True, options=options)

    assert written + (rest.response or "") == "".join(whole)
    assert rest.done_reason == "length"


def test_a_carried_on_prompt_is_cached(server: Running, client: ollama.Client, prompt: str) -> None:
    reply = client.chat(BUNDLED_MODEL, STORY, options=GREEDY)
    body = {
        "model": BUNDLED_MODEL,
        "prompt": prompt + (reply.message.content or ""),
        "raw": True,
        "stream": False,
        "options": {"num_predict": 1},
    }

    answer = httpx.post(f"{server.url}/api/generate", json=body, timeout=60).json()

    assert answer["prompt_eval_cached_count"] >= answer["prompt_eval_count"] - 3


def test_a_text_is_answered_as_a_users_message(client: ollama.Client) -> None:
    chat = client.chat(BUNDLED_MODEL, STORY, options=GREEDY)
    generated = client.generate(BUNDLED_MODEL, STORY[0]["content"], options=GREEDY)

    assert generated.response == chat.message.content


def test_a_trailing_message_of_the_assistant_is_carried_on(client: ollama.Client) -> None:
    messages = [
        {"role": "user", "content": "Count from 1 to 20."},
        {"role": "assistant", "content": "1, 2, 3, 4, 5, 6,"},
    ]

    answer = client.chat(BUNDLED_MODEL, messages, options={"temperature": 0, "num_predict": 3})

    assert (answer.message.content or "").strip().startswith("7")


def test_a_raw_prompt_too_long_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="exceeds the available context size"):
        client.generate(BUNDLED_MODEL, "owl " * 300, raw=True, options={"num_ctx": 128})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "x", "suffix": "y"}, "does not support insert"),
        ({"prompt": "x", "images": ["eA=="]}, "does not support images"),
        ({"prompt": "x", "think": True}, "does not support thinking"),
        ({"prompt": 5}, "prompt: Input should be a valid string"),
    ],
)
def test_a_text_that_cannot_be_continued_is_refused(
    server: Running, body: dict[str, Any], said: str
) -> None:
    answer = httpx.post(f"{server.url}/api/generate", json={"model": BUNDLED_MODEL, **body})

    assert answer.status_code == 400
    assert said in answer.json()["error"]

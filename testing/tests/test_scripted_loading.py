"""The scripted Ollama loads, limits and refuses as the real one does."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import ollama as official
import pytest

from testing.scripted_ollama import ModelInfo, Script, ScriptedOllama
from testing.waiting import wait_until

HELLO = [{"role": "user", "content": "Hello, llama!"}]
LONG = [{"role": "user", "content": "word " * 5000}]


@pytest.fixture
def client(ollama: ScriptedOllama) -> Iterator[official.Client]:
    with official.Client(ollama.url, timeout=10, trust_env=False) as client:
        yield client


def post(client: official.Client, path: str, **body: Any) -> dict[str, Any]:
    """Call without the official client's methods, which lack fields."""
    response = client._client.post(path, json={"stream": False, **body})
    answer: dict[str, Any] = response.json()
    return answer


def chat(client: official.Client, **options: int) -> official.ChatResponse:
    return client.chat("llama3.2", HELLO, options=options)


def test_a_model_is_loaded_anew_for_another_load_option_only(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    for options in ({"num_ctx": 2048}, {"num_ctx": 2048, "seed": 1}, {"num_ctx": 4096}, {}):
        chat(client, **options)
    post(client, "/api/chat", model="llama3.2", messages=HELLO, shift=False)

    assert [(name, options["num_ctx"]) for name, options in ollama.loading.log] == [
        ("llama3.2:latest", 2048),
        ("llama3.2:latest", 4096),
        ("llama3.2:latest", 4096),  # for `shift`
    ]


def test_a_window_beyond_the_models_own_is_no_other_one(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    chat(client, num_ctx=8192)
    chat(client, num_ctx=100_000)

    assert len(ollama.loading.log) == 1


def test_a_load_takes_its_time(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.loading.seconds = 0.2

    first, second = chat(client), chat(client)

    assert (first.load_duration or 0) >= 0.2e9
    assert (second.load_duration or 0) < 0.1e9


def test_a_load_waits_for_running_calls_and_others_overtake_it(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.scripts.append(Script(["one", "two"], hold_after=1))
    order: list[str] = []

    def run(name: str, **options: int) -> threading.Thread:
        def call() -> None:
            chat(official.Client(ollama.url, timeout=10, trust_env=False), **options)
            order.append(name)

        thread = threading.Thread(target=call)
        thread.start()
        return thread

    threads = [run("first", num_ctx=2048)]
    wait_until(lambda: ollama.chats and ollama.chats[0].held)
    threads.append(run("other window", num_ctx=4096))
    ollama.wait_for_open(2)
    threads.append(run("same window", num_ctx=2048))
    wait_until(lambda: order == ["same window"])
    ollama.release()
    for thread in threads:
        thread.join(5)

    assert order[0] == "same window"
    assert sorted(order[1:]) == ["first", "other window"]


def test_the_server_is_busy_only_while_it_loads(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.loading.seconds = 1.0
    ollama.loading.max_queue = 0
    loading = threading.Thread(target=chat, args=(client,))
    loading.start()
    ollama.wait_for_open(1)

    with official.Client(ollama.url, timeout=10, trust_env=False) as other:
        with pytest.raises(official.ResponseError, match="server busy") as refused:
            other.chat("tiny", HELLO)
        assert refused.value.status_code == 503
        loading.join(5)
        assert chat(other).done


def test_a_prompt_too_long_is_refused_in_the_runners_words(client: official.Client) -> None:
    with pytest.raises(official.ResponseError) as refused:
        client.chat("llama3.2", LONG)

    assert refused.value.status_code == 400
    inner = json.loads(refused.value.error)["error"]
    assert (inner["n_prompt_tokens"], inner["n_ctx"]) == (5004, 4096)
    assert inner["message"].startswith("request (5004 tokens) exceeds the available context size")


def test_the_oldest_messages_are_dropped_unless_truncate_is_off(client: official.Client) -> None:
    system = {"role": "system", "content": "Be brief."}
    messages = [system, {"role": "user", "content": "word " * 4090}, *HELLO]

    cut = post(client, "/api/chat", model="llama3.2", messages=messages)
    refused = post(client, "/api/chat", model="llama3.2", messages=messages, truncate=False)

    assert cut["prompt_eval_count"] == 7 + 8
    assert "exceeds the available context size" in refused["error"]


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({"num_predict": 2}, "one two ", "length"),
        ({"num_predict": 3}, "one two three", "stop"),
        ({"stop": ["wo"]}, "one t", "stop"),
    ],
)
def test_an_answer_ends_at_its_limits_and_says_why(
    ollama: ScriptedOllama,
    client: official.Client,
    options: dict[str, Any],
    text: str,
    reason: str,
) -> None:
    ollama.script = Script(["one ", "two ", "three"])

    answer = client.chat("llama3.2", HELLO, options=options)

    assert (answer.message.content, answer.done_reason) == (text, reason)


def test_without_shift_the_window_ends_an_answer(
    ollama: ScriptedOllama, client: official.Client
) -> None:
    ollama.script = Script(["word "] * 100)
    body = {"model": "llama3.2", "messages": HELLO, "options": {"num_ctx": 20}}

    whole = post(client, "/api/chat", **body)
    cut = post(client, "/api/chat", **body, shift=False)

    assert (whole["eval_count"], whole["done_reason"]) == (100, "stop")
    assert (cut["eval_count"], cut["done_reason"]) == (12, "length")


def test_what_a_model_cannot_do_is_400(ollama: ScriptedOllama, client: official.Client) -> None:
    ollama.models["seer:latest"] = ModelInfo(capabilities=("completion", "vision", "tools"))
    image = [{"role": "user", "content": "What is this?", "images": ["aGVsbG8="]}]
    wanted: list[dict[str, Any]] = [
        {"messages": image},
        {"messages": HELLO, "tools": [{"type": "function"}]},
        {"messages": HELLO, "think": True},
    ]

    refused = [post(client, "/api/chat", model="llama3.2", **each)["error"] for each in wanted]
    allowed = [post(client, "/api/chat", model="seer", **each) for each in wanted[:2]]

    assert "image input is not supported" in refused[0]
    assert "does not support tools" in refused[1]
    assert "does not support thinking" in refused[2]
    assert all(answer["done"] for answer in allowed)


def test_the_list_of_models_says_what_they_can_do(client: official.Client) -> None:
    models = client._client.get("/api/tags").json()["models"]

    assert {model["name"]: model["capabilities"] for model in models}["thinker:latest"] == [
        "completion",
        "thinking",
    ]


def test_the_counts_tell_how_much_of_a_prompt_was_cached(client: official.Client) -> None:
    first = post(client, "/api/chat", model="llama3.2", messages=HELLO)
    messages = [*HELLO, first["message"], {"role": "user", "content": "And?"}]

    second = post(client, "/api/chat", model="llama3.2", messages=messages)
    anew = post(client, "/api/chat", model="llama3.2", messages=messages, shift=False)

    assert first["prompt_eval_cached_count"] == 0
    assert second["prompt_eval_count"] == 8 + 11 + 6
    assert second["prompt_eval_cached_count"] == 8 + 11
    assert anew["prompt_eval_cached_count"] == 0, "the model was loaded anew"

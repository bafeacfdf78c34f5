"""What the server says about its model, and how it refuses requests."""

from typing import Any

import httpx
import ollama
import pytest

from testing.processes.bundled_model import BUNDLED_MODEL, Running

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_says_that_the_server_is_running(server: Running, method: str) -> None:
    answer = httpx.request(method, server.url)

    assert answer.status_code == 200
    assert answer.text == ("Ollama is running" if method == "GET" else "")


def test_the_server_has_a_version(server: Running) -> None:
    assert httpx.get(f"{server.url}/api/version").json().keys() == {"version"}


def test_the_one_model_is_listed(server: Running, client: ollama.Client) -> None:
    (model,) = client.list().models

    assert model.model == BUNDLED_MODEL
    assert model.size is not None
    assert model.size > 90_000_000
    assert model.digest is not None
    assert len(model.digest) == 64
    assert model.modified_at is not None
    assert model.details is not None
    assert model.details.family == "llama"
    assert model.details.parameter_size == "134.52M"
    assert model.details.quantization_level == "Q4_1"
    (entry,) = httpx.get(f"{server.url}/api/tags").json()["models"]
    assert entry["capabilities"] == ["completion"]


def test_show_has_the_context_length_that_is_served(client: ollama.Client) -> None:
    shown = client.show(BUNDLED_MODEL)

    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 4096
    assert shown.parameters == "num_ctx 4096"
    assert shown.capabilities == ["completion"]
    assert shown.template is not None
    assert "<|im_start|>" in shown.template
    assert shown.license == "apache-2.0"


def test_ps_lists_the_model_with_the_context_length_served(client: ollama.Client) -> None:
    (model,) = client.ps().models

    assert (model.model, model.context_length) == (BUNDLED_MODEL, 4096)


def test_pulling_its_own_model_succeeds(client: ollama.Client) -> None:
    assert client.pull(BUNDLED_MODEL).status == "success"
    assert [part.status for part in client.pull(BUNDLED_MODEL, stream=True)] == ["success"]


def test_pulling_any_other_model_fails(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        client.pull("llama3.2")


@pytest.mark.parametrize("model", ["llama3.2", "smollm2", "smollm2:latest"])
def test_another_model_is_not_found(client: ollama.Client, model: str) -> None:
    for ask in (lambda: client.chat(model, HELLO), lambda: client.show(model)):
        with pytest.raises(ollama.ResponseError) as refused:
            ask()
        assert refused.value.status_code == 404
        assert refused.value.error == f"model '{model}' not found"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "missing request body"),
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "model is required"),
        ('{"model": 5}', "model: Input should be a valid string"),
        ('{"model": "smollm2:135m", "messages": 5}', "messages: Input should be a valid array"),
        ('{"model": "smollm2:135m", "messages": [{}]}', "messages.0.role: Field required"),
        ('{"model": "smollm2:135m", "messages": [{"role": "boss"}]}', "messages.0.role:"),
        ('{"model": "smollm2:135m", "options": {"num_ctx": "8k"}}', "options.num_ctx:"),
        ('{"model": "smollm2:135m", "options": {"stop": "a"}}', "options.stop:"),
        ('{"model": "smollm2:135m", "options": {"repeat_penalty": 0}}', "options.repeat_penalty:"),
        ('{"model": "smollm2:135m", "stream": "no"}', "stream: Input should be a valid boolean"),
        ('{"model": "smollm2:135m", "tools": [{}]}', "does not support tools"),
        ('{"model": "smollm2:135m", "think": true}', "does not support thinking"),
    ],
)
def test_a_wrong_body_is_refused_in_words(server: Running, body: str, said: str) -> None:
    answer = httpx.post(f"{server.url}/api/chat", content=body)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": 5},
        {"role": "user", "content": ["secret"]},
        {"role": "secret", "content": "x"},
    ],
)
def test_a_refusal_never_repeats_the_message(server: Running, message: dict[str, Any]) -> None:
    body = {"model": BUNDLED_MODEL, "messages": [message]}
    answer = httpx.post(f"{server.url}/api/chat", json=body)

    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_unknown_options_and_nulls_are_ignored(client: ollama.Client) -> None:
    options = {"num_predict": 2, "mirostat": 1, "temperature": None, "seed": None}

    assert client.chat(BUNDLED_MODEL, HELLO, options=options).eval_count == 2


def test_wild_options_do_no_harm(client: ollama.Client) -> None:
    options = {
        "num_predict": 2,
        "num_ctx": 2**40,
        "seed": -(2**40),
        "temperature": -1.0,
        "top_k": 10**12,
        "top_p": 99.0,
        "min_p": -3.0,
        "repeat_penalty": 1e-9,
    }

    assert client.chat(BUNDLED_MODEL, HELLO, options=options).done


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("GET", "/api/chat", 405)]
)
def test_other_errors_have_the_same_shape(
    server: Running, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, server.url + path)

    assert answer.status_code == status
    assert answer.json().keys() == {"error"}

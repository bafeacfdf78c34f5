"""What Ollama's error answers mean."""

import json

import pytest

from chat.ollama.errors import ModelBusy, ModelMissing, ModelUnavailable, PromptTooLong
from chat.ollama.refusals import model_error, read

RUNNERS = {
    "error": {
        "code": 400,
        "message": "request (910 tokens) exceeds the available context size (512 tokens), try "
        "increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 910,
        "n_ctx": 512,
    }
}


@pytest.mark.parametrize(
    "answer",
    [
        RUNNERS,
        json.dumps(RUNNERS),
        {"error": json.dumps(RUNNERS)},
        RUNNERS["error"],  # as ollama's client leaves it of an error in a stream
        f"{json.dumps(RUNNERS)}\ncudaMalloc failed: out of memory",
    ],
)
def test_a_prompt_too_long_carries_the_numbers_of_the_model(answer: object) -> None:
    error = model_error(400, answer, "llama3.2")

    assert isinstance(error, PromptTooLong)
    assert (error.prompt_tokens, error.window) == (910, 512)
    assert "{" not in error.message


def test_numbers_that_are_missing_are_none() -> None:
    error = model_error(400, "the input length exceeds the context length")

    assert isinstance(error, PromptTooLong)
    assert (error.prompt_tokens, error.window) == (None, None)


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (404, "model 'x' not found", ModelMissing),
        (503, "server busy, please try again.  maximum pending requests exceeded", ModelBusy),
        (500, "an error was encountered while running the model: unexpected EOF", ModelUnavailable),
        (-1, {"code": 500, "message": "Compute error."}, ModelUnavailable),
        (500, None, ModelUnavailable),
        (500, ["what is this"], ModelUnavailable),
        (500, "{" * 5_000, ModelUnavailable),
        (502, "<html>Bad Gateway</html>", ModelUnavailable),
    ],
)
def test_each_answer_is_one_of_the_errors(status: int, answer: object, expected: type) -> None:
    error = model_error(status, answer, "llama3.2")

    assert type(error) is expected
    assert not {"{", "<"} & set(error.message)


def test_a_long_reason_is_cut() -> None:
    assert len(read("word " * 1000).reason) <= 200

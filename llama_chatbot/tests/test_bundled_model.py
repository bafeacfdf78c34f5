"""The main path with a real model: what `make run` gives somebody who has no Ollama."""

import pytest

from chat.models import Message
from testing.people import Caller, create_user
from testing.processes import StartServer
from testing.processes.bundled_model import BUNDLED_MODEL, serving


@pytest.mark.usefixtures("bundled_model")
def test_a_real_model_answers_token_by_token(start_server: StartServer) -> None:
    with serving("--slots", "1") as model:
        server = start_server(OLLAMA_HOST=model.url, OLLAMA_MODEL=BUNDLED_MODEL)
        with Caller(server.url, create_user("ann")) as ann:
            ann.timeout = 60
            thread = ann.thread(model=BUNDLED_MODEL, options={"num_predict": 20, "temperature": 0})
            url = f"/chat/streaming-response/{thread.pk}/"
            with ann.stream("POST", url, json={"message": "Name three colours."}) as answer:
                pieces = list(answer.iter_text())

    assert len(pieces) > 1
    question, reply = Message.objects.filter(thread=thread).order_by("pk")
    assert question.content == "Name three colours."
    assert (reply.content, reply.status) == ("".join(pieces), "complete")
    assert 1 < (reply.completion_tokens or 0) <= 20

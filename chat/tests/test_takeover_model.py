"""A real model carries a reply on as if its server had not been killed."""

from collections.abc import Iterator

import pytest

from chat.models import Thread
from chat.tests.taking_over import rest_of
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.processes.bundled_model import BUNDLED_MODEL, serving
from testing.replies import reply_of, wait_for_status
from testing.streams import events_of, following, sending, text_of
from testing.waiting import wait_until

STORY = "Tell me a story about a llama in the Andes."
ALWAYS_THE_SAME = {"temperature": 0, "seed": 7, "num_predict": 250}
SECONDS = 120  # for a reply, on a machine that is busy


@pytest.fixture
def server(bundled_model: None, alone: None, start_server: StartServer) -> Iterator[Server]:
    """A server with the bundled model, which reads each prompt from its own cache."""
    with serving("--slots", "1") as model:
        yield start_server(OLLAMA_HOST=model.url, OLLAMA_MODEL=BUNDLED_MODEL)


def thread_of(caller: Caller) -> Thread:
    return caller.thread(model=BUNDLED_MODEL, system_prompt="", options=ALWAYS_THE_SAME)


def test_a_killed_servers_reply_has_the_text_of_an_undisturbed_one(server: Server) -> None:
    with Caller(server.url, create_user("ann")) as ann:
        ann.timeout = SECONDS
        undisturbed = ann.say(thread_of(ann), STORY).text
        thread = thread_of(ann)
        with sending(ann, thread, STORY) as reading:
            wait_until(lambda: reply_of(thread).content, SECONDS)
            server.kill()
            rest_of(reading)
        read, stored = text_of(events_of(reading.text)), reply_of(thread).content
        server.start()
        with following(ann, thread, offset=len(read)) as again:
            events = events_of(again.to_the_end())

    for event in events:
        read = read[: event.data["offset"]] if event.type == "rewind" else read
        read += event.data["text"] if event.type == "delta" else ""
    assert read == undisturbed
    reply = wait_for_status(thread, "complete")
    assert reply.content == undisturbed
    assert 0 < len(stored) < len(undisturbed)
    assert reply.rewind_offset == len(stored)
    assert reply.completion_tokens == ALWAYS_THE_SAME["num_predict"]

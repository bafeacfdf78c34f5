"""Responses over stored threads, as OpenAI's own client for Python gets them."""

import pytest
from openai import ConflictError, NotFoundError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent

from chat.models import Message, Thread
from testing.people import Caller, token_of
from testing.processes import StartServer
from testing.replies import reply_of, wait_for_text
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, following, text_of
from testing.waiting import wait_until


def text_in(events: list[ResponseStreamEvent]) -> str:
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


def response_in(event: ResponseStreamEvent) -> Response:
    assert event.type in ("response.completed", "response.failed", "response.incomplete")
    response: Response = event.response
    return response


def test_a_response_is_a_reply_of_a_thread_that_goes_on(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    first = openai.responses.create(model="llama3.2", input="Hello")
    second = openai.responses.create(
        model="llama3.2",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Again"}]}],
        previous_response_id=first.id,
    )
    assert second.conversation is not None
    third = openai.responses.create(input="And again", conversation=second.conversation.id)

    assert first.status == "completed"
    assert first.output_text == "You said: Hello"
    assert first.usage is not None
    assert first.usage.output_tokens == 3
    assert second.previous_response_id == first.id
    assert third.model == "llama3.2"
    thread = Thread.objects.get()
    assert second.conversation.id == f"conv_{thread.pk}"
    messages = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert [message["content"] for message in messages] == [
        *("Hello", "You said: Hello"),
        *("Again", "You said: Again"),
        *("And again", "You said: And again"),
    ]
    said = [message["content"] for message in ollama.chats[-1].messages]
    assert said[1:] == [message["content"] for message in messages[:-1]]
    assert openai.responses.retrieve(first.id).output_text == "You said: Hello"
    (item,) = openai.responses.input_items.list(second.id).data
    assert item.to_dict()["content"] == [{"type": "input_text", "text": "Again"}]


def test_a_response_that_follows_an_earlier_one_makes_a_branch(
    openai: OpenAI, ollama: ScriptedOllama
) -> None:
    first = openai.responses.create(model="llama3.2", input="Hello")
    openai.responses.create(model="llama3.2", input="A", previous_response_id=first.id)

    openai.responses.create(model="llama3.2", input="B", previous_response_id=first.id)

    assert [m["content"] for m in ollama.chats[-1].messages][1:] == [
        "Hello",
        "You said: Hello",
        "B",
    ]


def test_instructions_and_options_are_those_of_one_response(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(system_prompt="Speak French.", options={"seed": 1})
    conversation = f"conv_{thread.pk}"

    one = openai.responses.create(
        model="tiny",
        input=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        instructions="Speak Latin.",
        conversation=conversation,
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=9,
    )
    openai.responses.create(input="Hi", conversation=conversation)

    assert (one.model, one.temperature, one.max_output_tokens) == ("tiny", 0.5, 9)
    assert one.instructions == "Speak Latin.\n\nBe brief."
    first, second = ollama.chats
    assert first.body["model"] == "tiny"
    assert first.messages[0] == {"role": "system", "content": "Speak Latin.\n\nBe brief."}
    wanted = {"seed": 1, "temperature": 0.5, "top_p": 0.9, "num_predict": 9}
    assert wanted.items() <= first.options.items()
    assert second.body["model"] == "llama3.2"
    assert second.messages[0]["content"] == "Speak French."
    assert "temperature" not in second.options


def test_a_response_is_streamed_as_it_is_written(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"], thinking=["Hm", "m."], hold_after=1)

    events = []
    with openai.responses.create(model="thinker", input="Count", stream=True) as stream:
        for event in stream:
            events.append(event)
            if text_in(events) == "one ":
                ollama.release()

    kinds = [event.type for event in events if not event.type.endswith(".delta")]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert text_in(events) == "one two"
    thoughts = [e.delta for e in events if e.type == "response.reasoning_text.delta"]
    assert "".join(thoughts) == "Hmm."
    last = response_in(events[-1])
    assert last.output_text == "one two"
    assert last == openai.responses.retrieve(last.id)


def test_the_clients_own_helper_reads_the_stream(openai: OpenAI) -> None:
    with openai.responses.stream(model="llama3.2", input="Hello") as stream:
        stream.until_done()

        assert stream.get_final_response().output_text == "You said: Hello"


@pytest.mark.parametrize("thinking", [[], ["Hm", "m."]])
def test_a_reader_resumes_after_any_event(
    openai: OpenAI, ollama: ScriptedOllama, thinking: list[str]
) -> None:
    ollama.script = Script(["one ", "two ", "three"], thinking=thinking, interval=0.1)
    with openai.responses.create(model="thinker", input="Count", stream=True) as stream:
        events = list(stream)
    response_id = response_in(events[-1]).id

    for place, event in enumerate(events[:-1]):
        with openai.responses.retrieve(
            response_id, stream=True, starting_after=event.sequence_number
        ) as resumed:
            rest = list(resumed)

        assert text_in(events[: place + 1]) + text_in(rest) == "one two three"
        assert rest[0].sequence_number > event.sequence_number
        assert rest[-1] == events[-1]
        no_deltas = [e for e in events[place + 1 :] if not e.type.endswith(".delta")]
        assert [e for e in rest if not e.type.endswith(".delta")] == no_deltas


def test_a_stream_goes_on_after_its_worker_was_killed(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server()
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)
    client = OpenAI(base_url=f"{server.url}/v1", api_key=token_of(ann), max_retries=0)
    events: list[ResponseStreamEvent] = []
    response_id = ""
    with pytest.raises(Exception, match=r"(?i)connection|closed|chunk|peer"):
        for event in client.responses.create(model="llama3.2", input="Count", stream=True):
            events.append(event)
            if event.type == "response.created":
                response_id = event.response.id
            if text_in(events) == "one two ":
                wait_for_text(Thread.objects.get(), "one two ")
                server.kill()
    server.start()
    ollama.release()

    with client.responses.retrieve(
        response_id, stream=True, starting_after=events[-1].sequence_number
    ) as resumed:
        rest = list(resumed)

    assert text_in(events) + text_in(rest) == "one two three"
    assert response_in(rest[-1]).status == "completed"
    assert response_in(rest[-1]).output_text == "one two three"


def test_what_one_api_begins_the_other_follows(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    begun = openai.responses.create(model="llama3.2", input="Count", background=True)
    assert begun.status == "in_progress"
    thread = Thread.objects.get()

    with following(ann, thread) as reading:
        reading.until("one ")
        ollama.release()
        assert text_of(events_of(reading.to_the_end())) == "one two"
    ollama.script = Script(["Fine."])
    ann.say(thread, "Hello")

    by_chat = openai.responses.retrieve(f"resp_{reply_of(thread).pk}")
    assert by_chat.previous_response_id == begun.id


def test_a_background_response_is_written_though_nobody_reads_it(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server(CHAT_ABANDONED_REPLY_SECONDS="0")
    ollama.script = Script(["one ", "two"], hold_after=1)
    client = OpenAI(base_url=f"{server.url}/v1", api_key=token_of(ann), max_retries=0)
    begun = client.responses.create(model="llama3.2", input="Count", background=True)
    wait_for_text(Thread.objects.get(), "one ")
    assert client.responses.retrieve(begun.id).output_text == "one "

    ollama.release()

    wait_until(lambda: client.responses.retrieve(begun.id).status == "completed")
    assert client.responses.retrieve(begun.id).output_text == "one two"


def test_a_response_can_be_cancelled(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    begun = openai.responses.create(model="llama3.2", input="Count", background=True)
    wait_for_text(Thread.objects.get(), "one ")

    cancelled = openai.responses.cancel(begun.id)

    assert (cancelled.status, cancelled.output_text) == ("cancelled", "one ")
    ollama.wait_for_open(0)


def test_a_deleted_response_is_gone_with_what_follows_it(
    openai: OpenAI, ollama: ScriptedOllama
) -> None:
    first = openai.responses.create(model="llama3.2", input="Hello")
    second = openai.responses.create(input="Again", previous_response_id=first.id)
    ollama.script = Script(["one ", "two"], hold_after=1)
    running = openai.responses.create(
        input="Count", previous_response_id=second.id, background=True
    )
    with pytest.raises(ConflictError):
        openai.responses.delete(running.id)
    openai.responses.cancel(running.id)

    openai.responses.delete(second.id)

    assert [m.content for m in Message.objects.order_by("pk")] == ["Hello", "You said: Hello"]
    for gone in (second, running):
        with pytest.raises(NotFoundError):
            openai.responses.retrieve(gone.id)
    openai.responses.delete(first.id)
    assert not Thread.objects.exists()


def test_what_is_not_to_be_stored_is_not(openai: OpenAI, ollama: ScriptedOllama) -> None:
    whole = openai.responses.create(
        model="llama3.2",
        store=False,
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Hello"},
        ],
    )
    with openai.responses.create(
        model="llama3.2", input="Hello", store=False, stream=True
    ) as stream:
        events = list(stream)

    assert whole.output_text == text_in(events) == "You said: Hello"
    roles = [message["role"] for message in ollama.chats[0].messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert response_in(events[-1]).output_text == "You said: Hello"
    assert not Thread.objects.exists()
    with pytest.raises(NotFoundError):
        openai.responses.retrieve(whole.id)

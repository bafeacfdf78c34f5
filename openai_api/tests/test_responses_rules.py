"""Responses keep to their specification, and are refused where they must be."""

import json
from typing import Any

import pytest
from openai import APIError, BadRequestError, ConflictError, NotFoundError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from chat.models import Message, Thread
from testing.people import Caller
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import path_of
from testing.waiting import wait_until

REQUIRED = (  # by the specification at openresponses.org
    "id object created_at completed_at status incomplete_details model previous_response_id"
    " instructions output error tools tool_choice truncation parallel_tool_calls text top_p"
    " presence_penalty frequency_penalty top_logprobs temperature reasoning user usage"
    " max_output_tokens max_tool_calls store background service_tier metadata safety_identifier"
    " prompt_cache_key"
)
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,"}
CALL_OUTPUT = {"type": "function_call_output", "call_id": "1", "output": "2"}
NO_SCHEMA = {"type": "json_schema", "name": "sky", "schema": {"type": "colour"}}
STORED = {"type": "item_reference", "id": "msg_1"}
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def test_every_answer_and_event_is_as_specified(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one ", "two"], thinking=["Hm."])
    token = {"Authorization": f"Bearer {openai.api_key}"}
    body = {"model": "thinker", "input": "Count"}

    whole = ann.post("/v1/responses", json=body, headers=token)
    streamed = ann.post("/v1/responses", json={**body, "stream": True}, headers=token)

    Response.model_validate_json(whole.content, strict=True)
    assert not set(REQUIRED.split()) - whole.json().keys()
    blocks = streamed.text.strip().split("\n\n")
    for block in blocks:
        name, data = block.split("\n")
        event = EVENT.validate_json(data.removeprefix("data: "), strict=True)
        assert event.type == name.removeprefix("event: ")
    assert len(blocks) > 10


def test_an_answer_can_be_held_to_a_json_schema(openai: OpenAI, ollama: ScriptedOllama) -> None:
    schema: dict[str, object] = {"type": "object", "required": ["colour"]}
    ollama.script = Script(['{"colour": "blue"}'])

    answer = openai.responses.create(
        model="llama3.2",
        input="Which colour is the sky?",
        text={"format": {"type": "json_schema", "name": "sky", "schema": schema}},
    )

    assert json.loads(answer.output_text) == {"colour": "blue"}
    assert ollama.chats[0].body["format"] == schema
    assert Message.objects.get(sender="bot").format_valid is True


def test_a_reply_cut_at_its_length_is_incomplete(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one "], done_reason="length")

    answer = openai.responses.create(model="llama3.2", input="Count")
    with openai.responses.create(model="llama3.2", input="Count", stream=True) as stream:
        *_, last = stream

    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert last.type == "response.incomplete"


def test_a_late_failure_leaves_a_failed_response_and_an_early_one_none(
    openai: OpenAI, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["one "], then="die")
    late = openai.responses.create(model="llama3.2", input="Count")
    with openai.responses.create(model="llama3.2", input="Count", stream=True) as stream:
        *_, last = stream
    ollama.script = Script(status=500)
    with pytest.raises(APIError) as early:
        openai.responses.create(model="llama3.2", input="Count")

    assert (late.status, late.output_text) == ("failed", "one ")
    assert late.error is not None
    assert last.type == "response.failed"
    assert early.value.code == "model_unavailable"
    assert Thread.objects.count() == 2


@pytest.mark.parametrize(
    ("arguments", "parameter", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools", "not offered"),
        ({"reasoning": {"effort": "high"}}, "reasoning", "not offered"),
        ({"prompt": {"id": "p"}}, "prompt", "not offered"),
        ({"metadata": {"k": "v"}}, "metadata", "not offered"),
        ({"input": []}, "input", "must not be empty"),
        ({"input": " "}, "input", "must not be blank"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input.0.content.0", "no images"),
        ({"input": [CALL_OUTPUT]}, "input.0", "no calls of tools"),
        ({"input": [{"role": "assistant", "content": "Hi"}], "store": True}, "input", "keeps"),
        ({"input": [{"role": "system", "content": "Hi"}]}, "input", "no message"),
        ({"input": [STORED], "store": False}, "store", "stored response"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "has a schema"),
        ({"text": {"format": NO_SCHEMA}}, "text.format.schema", "not a valid JSON schema"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "conversation", "either"),
        ({"store": False, "background": True}, "store", "stored response"),
    ],
)
def test_what_is_not_offered_is_refused_in_words(
    openai: OpenAI, arguments: dict[str, Any], parameter: str, words: str
) -> None:
    body = {"input": "Hello", **arguments}
    with pytest.raises(BadRequestError) as raised:
        openai.responses.create(model="llama3.2", extra_body=body)

    assert raised.value.param == parameter
    assert words in raised.value.message


def test_a_failure_in_the_background_is_there_for_who_asks_later(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500)

    begun = openai.responses.create(model="llama3.2", input="Count", background=True)
    wait_until(lambda: openai.responses.retrieve(begun.id).status != "in_progress")

    failed = openai.responses.retrieve(begun.id)
    assert (failed.status, failed.output_text) == ("failed", "")
    assert failed.error is not None
    with openai.responses.retrieve(begun.id, stream=True) as stream:
        *_, last = stream
    assert last.type == "response.failed"
    assert last.response.error == failed.error
    assert ann.get("/auth/usage/").json()["total"]["replies"] == 0
    ollama.script = Script(["Fine."])
    followed = openai.responses.create(input="Again", previous_response_id=begun.id)
    assert followed.output_text == "Fine."
    assert [message["content"] for message in ollama.chats[-1].messages][-1:] == ["Again"]


def test_a_prompt_that_does_not_fit_is_refused_as_openais_clients_know_it(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.responses.create(model="tiny", input="word " * 3000)

    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", None)


def test_a_send_may_be_repeated_with_its_key(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"])
    key = {"Idempotency-Key": "one"}

    first, again = (
        openai.responses.create(model="llama3.2", input="Count", extra_headers=key)
        for _ in range(2)
    )
    with pytest.raises(ConflictError) as raised:
        openai.responses.create(model="llama3.2", input="Count on", extra_headers=key)

    assert first == again
    assert raised.value.code == "idempotency_key_reused"
    assert len(ollama.chats) == 1


def test_nobody_sees_what_is_somebody_elses(openai: OpenAI, bob: Caller) -> None:
    thread = bob.thread()
    bob.say(thread)
    bobs = f"resp_{reply_of(thread).pk}"

    for call in (
        lambda: openai.responses.retrieve(bobs),
        lambda: openai.responses.retrieve(bobs, stream=True),
        lambda: openai.responses.cancel(bobs),
        lambda: openai.responses.delete(bobs),
        lambda: openai.responses.input_items.list(bobs),
        lambda: openai.responses.create(model="llama3.2", input="Hi", previous_response_id=bobs),
        lambda: openai.responses.create(input="Hi", conversation=f"conv_{thread.pk}"),
        lambda: openai.responses.retrieve("resp_99999999999999999999"),
        lambda: openai.responses.retrieve("nonsense"),
    ):
        with pytest.raises(NotFoundError) as raised:
            call()
        assert "There is no " in raised.value.message
    assert wait_for_status(thread, "complete")
    assert bob.get(path_of(thread)).text == "You said: Hello"


def test_a_conversation_that_the_client_brings_is_answered_and_not_stored(
    openai: OpenAI,
) -> None:
    answer = openai.responses.create(
        model="llama3.2",
        input=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Hello"},
        ],
    )

    assert answer.output_text == "You said: Hello"
    assert answer.to_dict()["store"] is False
    assert not Thread.objects.exists()

"""Models and chat completions, as OpenAI's own client for Python gets them."""

import json

import pytest
from openai import APIError, AuthenticationError, BadRequestError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from chat.models import Message, Thread
from testing.people import Caller
from testing.processes import Server
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def test_the_models_are_listed(openai: OpenAI) -> None:
    names = [model.id for model in openai.models.list()]

    assert sorted(names) == ["llama3.2:latest", "thinker:latest", "tiny:latest"]
    assert openai.models.retrieve("llama3.2").id == "llama3.2:latest"
    with pytest.raises(NotFoundError) as raised:
        openai.models.retrieve("gpt-9")
    assert raised.value.code == "model_not_found"


def test_a_completion_is_answered_and_counted_and_not_stored(
    openai: OpenAI, ann: Caller, ollama: ScriptedOllama
) -> None:
    answer = openai.chat.completions.create(
        model="llama3.2",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
        max_tokens=20,
        temperature=0,
        top_p=0.5,
        seed=7,
        stop="END",
    )

    assert answer.choices[0].message.content == "You said: Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    (chat,) = ollama.chats
    assert [message["role"] for message in chat.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    wanted = {"num_predict": 20, "temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["END"]}
    assert chat.options == {**wanted, "num_ctx": 8192}
    assert ann.get("/auth/usage/").json()["total"] == {
        "replies": 1,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": 3,
    }
    assert not Thread.objects.exists()
    assert not Message.objects.exists()


def test_a_completion_is_streamed_as_it_is_written(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)

    said = ""
    chunks = []
    for chunk in openai.chat.completions.create(
        model="llama3.2", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):
        chunks.append(chunk)
        if chunk.choices:
            said += chunk.choices[0].delta.content or ""
        if said == "one two ":
            ollama.release()

    assert said == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_include_usage_a_stream_ends_with_the_finish_reason(openai: OpenAI) -> None:
    *_, last = openai.chat.completions.create(model="llama3.2", messages=HELLO, stream=True)

    assert last.choices[0].finish_reason == "stop"


def test_what_the_model_thinks_is_apart(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["Yes."], thinking=["Hm", "m."])

    answer = openai.chat.completions.create(model="thinker", messages=HELLO)
    chunks = list(openai.chat.completions.create(model="thinker", messages=HELLO, stream=True))

    assert answer.choices[0].message.content == "Yes."
    assert answer.choices[0].message.to_dict()["reasoning"] == "Hmm."
    deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks]
    assert "".join(str(delta.get("reasoning", "")) for delta in deltas) == "Hmm."
    assert "".join(str(delta.get("content") or "") for delta in deltas) == "Yes."


def test_an_answer_can_be_held_to_a_json_schema(openai: OpenAI, ollama: ScriptedOllama) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"colour": {"type": "string"}}}
    ollama.script = Script(['{"colour"', ': "blue"}'])

    answer = openai.chat.completions.create(
        model="llama3.2",
        messages=HELLO,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "sky", "schema": schema, "strict": True},
        },
    )
    openai.chat.completions.create(
        model="llama3.2", messages=HELLO, response_format={"type": "json_object"}
    )

    assert json.loads(answer.choices[0].message.content or "") == {"colour": "blue"}
    assert [chat.body["format"] for chat in ollama.chats] == [schema, "json"]


def test_a_completion_stops_when_its_reader_leaves(openai: OpenAI, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two ", "three"], hold_after=2)

    with openai.chat.completions.create(model="llama3.2", messages=HELLO, stream=True) as stream:
        next(iter(stream))

    wait_until(lambda: ollama.chats[0].ended_by == "disconnect")


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities.1"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"temperature": 3}, "temperature"),
        ({"store": True}, "store"),
    ],
)
def test_a_field_that_is_not_offered_is_refused(
    openai: OpenAI, arguments: dict[str, object], parameter: str
) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.chat.completions.create(model="llama3.2", messages=HELLO, extra_body=arguments)

    assert raised.value.param == parameter
    assert raised.value.type == "invalid_request_error"
    assert parameter in raised.value.message


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}}
ONLY_TEXT = "Only text is offered: no images, audio or files."
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def a_schema(schema: object) -> dict[str, object]:
    named = {"name": "sky", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


@pytest.mark.parametrize(
    ("arguments", "parameter", "words"),
    [
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "messages.0.content.0",
            ONLY_TEXT,
        ),
        (
            {"messages": [{"role": "user", "content": [SOUND]}]},
            "messages.0.content.0",
            ONLY_TEXT,
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]},
            "messages.0.tool_calls",
            "This is not offered.",
        ),
        ({"tools": [{"type": "function"}]}, "tools", "This is not offered."),
        ({"reasoning_effort": "high"}, "reasoning_effort", "This is not offered."),
        ({"messages": []}, "messages", "This must not be empty."),
        (
            a_schema({"type": "colour"}),
            "response_format.json_schema.schema",
            "This is not a valid JSON schema.",
        ),
        (
            a_schema({"description": "x" * 65_536}),
            "response_format.json_schema.schema",
            "A schema has at most 64 KiB.",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format",
            "A format of the type json_schema has a schema.",
        ),
    ],
)
def test_a_refusal_says_in_words_what_is_not_offered(
    openai: OpenAI, arguments: dict[str, object], parameter: str, words: str
) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.chat.completions.create(model="llama3.2", messages=HELLO, extra_body=arguments)

    assert raised.value.param == parameter
    assert raised.value.body == {
        "message": f"{parameter}: {words}",
        "type": "invalid_request_error",
        "param": parameter,
        "code": "invalid",
    }


def test_an_answers_message_can_be_sent_back(openai: OpenAI, ollama: ScriptedOllama) -> None:
    answer = openai.chat.completions.create(model="llama3.2", messages=HELLO).choices[0].message
    of_other_clients = {  # LiteLLM's, and those of the AI SDK's provider for the likes of OpenAI
        **answer.to_dict(),
        "function_call": None,
        "tool_calls": [],
        "annotations": [],
        "reasoning_content": "Hm.",
        "provider_specific_fields": {"refusal": None},
    }
    for sent in (answer, answer.to_dict(), of_other_clients):
        messages = [*HELLO, sent, *HELLO]
        openai.chat.completions.create(model="llama3.2", messages=messages)  # type: ignore[arg-type]

    for chat in ollama.chats[1:]:
        assert [message["content"] for message in chat.messages] == [
            *("Hello", "You said: Hello", "Hello")
        ]


def test_a_message_of_the_models_may_be_without_content(
    openai: OpenAI, ollama: ScriptedOllama
) -> None:
    openai.chat.completions.create(
        model="llama3.2", messages=[*HELLO, {"role": "assistant", "content": None}, *HELLO]
    )

    contents = [message.get("content", "") for message in ollama.chats[0].messages]
    assert contents == ["Hello", "", "Hello"]


def test_neutral_arguments_do_not_matter(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model="llama3.2",
        messages=HELLO,
        n=1,
        frequency_penalty=0.0,
        user="me",
        metadata={"a": "b"},
        tools=[],
        logit_bias={},
    )

    assert answer.choices[0].message.content == "You said: Hello"


def test_errors_have_openais_shape(
    server: Server, nobody: Caller, ann: Caller, openai: OpenAI
) -> None:
    with pytest.raises(AuthenticationError) as raised:
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong").models.list()
    assert raised.value.code == "invalid_api_key"
    with pytest.raises(NotFoundError) as unknown:
        openai.chat.completions.create(model="gpt-9", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    assert "llama3.2:latest" in unknown.value.message
    for answer in (
        nobody.get("/v1/models"),
        ann.get("/v1/models"),  # a session is no token
        ann.get("/v1/nothing"),
        ann.get("/v1"),
        ann.get("/v1/chat/completions"),
        ann.post("/v1/chat/completions", content=b"{"),
        ann.post("/v1/chat/completions", json={"a": "x" * 2_000_000}),
    ):
        assert answer.status_code >= 400
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}, answer.text


def test_an_early_failure_is_a_status_and_a_late_one_ends_the_stream(
    openai: OpenAI, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(status=500)
    with pytest.raises(APIError) as early:
        openai.chat.completions.create(model="llama3.2", messages=HELLO, stream=True)
    ollama.script = Script(["one "], then="die")
    said = ""
    with pytest.raises(APIError) as late:
        for chunk in openai.chat.completions.create(model="llama3.2", messages=HELLO, stream=True):
            said += chunk.choices[0].delta.content or ""

    assert early.value.code == "model_unavailable"
    assert late.value.code == "model_unavailable"
    assert said == "one "


def test_a_conversation_that_does_not_fit_is_refused(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "word " * 3000}]
        )

    assert "too long" in raised.value.message
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", None)

"""Carrying a reply on, with each kind of template, and with an Ollama that is too old for it."""

from collections.abc import AsyncIterator
from unittest.mock import ANY

import pytest
import pytest_asyncio
from pytest_django.fixtures import Settings

from chat.ollama import calls, client, continuation, transport
from chat.ollama.client import ChatMessage, Stats
from chat.ollama.continuation import WithoutPrefix, can_continue, continue_chat
from chat.ollama.errors import CannotContinue, ModelMissing, ModelUnavailable, PromptTooLong
from chat.ollama.placement import hosts
from testing.scripted_ollama import ModelInfo, Script, ScriptedOllama
from testing.scripted_ollama.templates import Template

MESSAGES = [
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content="Count."),
]
OPTIONS = {"num_ctx": 8192, "num_predict": 100, "seed": 7}
TOKENS = ["one ", "two ", "thr\u0065\u0301e ", "\U0001f999\U0001f999", " five"]
TEXT = "".join(TOKENS)
TEMPLATES: tuple[Template, ...] = ("chatml", "llama3", "native", "harmony", "always-thinks")


@pytest_asyncio.fixture(autouse=True)
async def templates(
    ollama: ScriptedOllama, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """An Ollama of which nothing is known yet, with a model for each template."""
    for template in TEMPLATES:
        thinks = ("completion", "thinking") if "think" in template else ("completion",)
        ollama.models[f"{template}:latest"] = ModelInfo(template=template, capabilities=thinks)
    ollama.script = Script(TOKENS, thinking=["Hm."])
    settings.OLLAMA_HOST = ollama.url
    monkeypatch.setattr(calls, "healths", {})
    monkeypatch.setattr(continuation, "_without_rendering", {})
    monkeypatch.setattr(continuation, "_can_render", {})
    monkeypatch.setattr(continuation, "_repeats", {})
    monkeypatch.setattr(client, "_details", {})
    yield
    await transport.close()


async def go_on(model: str, written: str) -> tuple[str, Stats]:
    pieces: list[str] = []

    def add(text: str, thinking: str) -> None:
        assert not thinking
        pieces.append(text)

    stats = await continue_chat(hosts()[0], model, MESSAGES, written, OPTIONS, add)
    return "".join(pieces), stats


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("length", range(1, len(TEXT)))
async def test_a_reply_is_carried_on_from_any_character(template: Template, length: int) -> None:
    rest, _ = await go_on(template, TEXT[:length])

    assert TEXT[:length] + rest == TEXT


async def test_a_reply_is_carried_on_with_its_prompt_and_options(ollama: ScriptedOllama) -> None:
    _, stats = await go_on("thinker", "one two ")

    [chat] = ollama.chats
    assert (chat.messages, chat.continues) == (MESSAGES, "one two ")
    assert chat.options == OPTIONS
    assert (chat.body["truncate"], chat.body["shift"]) == (False, False)
    assert stats.prompt_tokens == chat.prompt_tokens
    assert (stats.completion_tokens, stats.finish_reason) == (3, "stop")


async def test_rendering_loads_a_model_for_no_other_options(ollama: ScriptedOllama) -> None:
    await client.chat(hosts()[0], "chatml", MESSAGES, OPTIONS, lambda text, thinking: None)
    assert await can_continue("chatml")
    await go_on("chatml", "one ")

    assert len(ollama.loading.log) == 1


async def test_a_reply_cut_by_its_limit_says_so() -> None:
    pieces: list[str] = []
    stats = await continue_chat(
        hosts()[0],
        "chatml",
        MESSAGES,
        "one ",
        {**OPTIONS, "num_predict": 1},
        lambda text, thinking: pieces.append(text),
    )

    assert (pieces, stats.finish_reason) == (["two "], "length")


async def test_what_a_model_can_is_asked_once(ollama: ScriptedOllama) -> None:
    for _ in range(3):
        assert await can_continue("chatml")
    assert await can_continue("llama3")

    assert [body["model"] for body in ollama.renders_seen] == ["chatml", "llama3"]
    assert not ollama.chats


@pytest.mark.parametrize(
    ("template", "can"),
    [("llama3", True), ("chatml", False), ("harmony", False), ("always-thinks", False)],
)
async def test_an_ollama_that_cannot_render_is_noticed_and_not_asked_again(
    ollama: ScriptedOllama, template: Template, can: bool
) -> None:
    ollama.renders = False
    for _ in range(3):
        assert await can_continue(template) is can

    [asked] = ollama.chats
    assert asked.options["num_predict"] == 1

    if can:
        assert await go_on(template, "one two ") == (
            "thr\u0065\u0301e \U0001f999\U0001f999 five",
            ANY,
        )
    else:
        with pytest.raises(CannotContinue):
            await go_on(template, "one two ")
    assert sum(chat.options["num_predict"] == 1 for chat in ollama.chats) == 1


async def test_a_newer_ollama_is_asked_again(ollama: ScriptedOllama) -> None:
    ollama.renders = False
    assert not await can_continue("chatml")

    ollama.renders, ollama.version = True, "0.40.0"

    assert await can_continue("chatml")


@pytest.mark.parametrize("length", range(1, 8))
@pytest.mark.parametrize("template", ["llama3", "native"])
async def test_a_text_that_repeats_itself_is_whole(
    ollama: ScriptedOllama, template: Template, length: int
) -> None:
    """What goes on as it began is no repetition of the beginning."""
    ollama.renders = False
    ollama.script = Script(["ha "] * 8)

    rest, _ = await go_on(template, "ha " * length)

    assert rest == "ha " * (8 - length)


async def test_a_beginning_that_a_model_is_known_to_repeat_is_taken_off(
    ollama: ScriptedOllama,
) -> None:
    ollama.renders = False
    for _ in range(2):
        assert await can_continue("native")

        rest, _ = await go_on("native", "one two ")

        assert "one two " + rest == TEXT

    asked = [chat for chat in ollama.chats if chat.options["num_predict"] == 1]
    assert len(asked) == 2  # whether it renders, and whether it repeats


async def test_a_model_that_begins_anew_cannot_go_on(
    ollama: ScriptedOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.renders = False

    async def details(model: str) -> client.ModelDetails:
        return client.ModelDetails(8192, "{% for message in messages %}", has_renderer=False)

    monkeypatch.setattr(client, "details", details)

    assert not await can_continue("chatml")
    with pytest.raises(CannotContinue):
        await go_on("chatml", "one two ")


@pytest.mark.parametrize(
    ("pieces", "passed"),
    [
        (["one ", "two ", "three"], "three"),
        (["one two three"], "three"),
        (["one two ", "one two ", "three"], "one two three"),
        (["one two "], ""),
    ],
)
def test_what_was_written_is_taken_off_once(pieces: list[str], passed: str) -> None:
    got: list[str] = []
    rest = WithoutPrefix("one two ", lambda text, thinking: got.append(text))

    for piece in pieces:
        rest.add(piece, "")
    rest.end()

    assert "".join(got) == passed


@pytest.mark.parametrize("pieces", [["one ", "more"], ["one"], [" three"], []])
def test_an_answer_that_does_not_repeat_what_was_written_is_another(pieces: list[str]) -> None:
    rest = WithoutPrefix("one two ", lambda text, thinking: pytest.fail(text))

    with pytest.raises(CannotContinue):
        for piece in pieces:
            rest.add(piece, "")
        rest.end()


@pytest.mark.parametrize(
    ("template", "is_open"),
    [
        ("{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: {{ .Response }}</s>", True),
        (
            "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}"
            '{{ if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}'
            "{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}{{ end }}",
            True,
        ),
        ("{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>{{ end }}", False),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", False),
        ("", False),
    ],
)
async def test_whether_a_template_leaves_the_last_message_open(
    monkeypatch: pytest.MonkeyPatch, template: str, is_open: bool
) -> None:
    async def details(model: str) -> client.ModelDetails:
        return client.ModelDetails(8192, template, has_renderer=False)

    monkeypatch.setattr(client, "details", details)

    assert await continuation.leaves_reply_open("any") is is_open


async def test_a_reply_that_has_filled_the_window_cannot_grow(ollama: ScriptedOllama) -> None:
    with pytest.raises(PromptTooLong) as refused:
        await continue_chat(
            hosts()[0],
            "chatml",
            MESSAGES,
            "word " * 600,
            {"num_ctx": 512},
            lambda text, thinking: None,
        )

    assert refused.value.window == 512


async def test_a_missing_model_and_a_dead_ollama_are_what_they_are(ollama: ScriptedOllama) -> None:
    with pytest.raises(ModelMissing):
        await go_on("absent", "one ")
    ollama.stop()
    with pytest.raises(ModelUnavailable):
        await go_on("chatml", "one ")

"""Calls to Ollama: the only place that makes them. What fails raises one of `errors`."""

import asyncio
import math
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from typing import Any, NamedTuple, TypedDict, TypeVar, cast

import httpx
import ollama
from django.conf import settings
from django.core.cache import cache

from chat.formats import Format
from chat.ollama import calls
from chat.ollama.calls import call
from chat.ollama.errors import ModelError, ModelUnavailable, UnknownModel
from chat.ollama.placement import hosts
from chat.ollama.transport import client

MODELS_CACHE_KEY = "ollama-models-by-host"
MODELS_CACHE_SECONDS = 30
FEWER_MODELS_CACHE_SECONDS = 3  # while a host does not answer
LOOK_UP_SECONDS = 10.0
LOOK_UP_ELSEWHERE_SECONDS = 3.0  # where another host may answer
NANOSECONDS_IN_A_MILLISECOND = 1_000_000
MAX_STORED_NUMBER = 2**31 - 1

OnPart = Callable[[str, str], None]
Answer = TypeVar("Answer")
Part = TypeVar("Part", ollama.ChatResponse, ollama.GenerateResponse)


class Model(TypedDict):
    """A model that Ollama has; `size` is in bytes."""

    name: str
    size: int
    family: str
    parameter_size: str
    modified_at: str


class ChatMessage(TypedDict):
    """One message as the model sees it."""

    role: str
    content: str


class Stats(NamedTuple):
    """What Ollama reports of a reply at its end; durations in milliseconds.

    `finish_reason` is "length" where the window or `num_predict` cut the reply, else "stop".
    """

    prompt_tokens: int
    completion_tokens: int
    duration_ms: int
    finish_reason: str  # "stop", or "length" where the reply was cut


async def chat(
    host: str,
    model: str,
    messages: Sequence[ChatMessage],
    options: dict[str, Any],
    on_part: OnPart,
    *,
    think: bool | None = None,
    format: Format | None = None,
) -> Stats:
    """Have `model` write a reply at a host, and return what Ollama reports of it.

    `on_part(text, thinking)` gets each piece as it comes. A model that can think does, unless
    `think` is False. `format` is "json" or a JSON schema to which Ollama holds the reply.
    Cancelling the call closes the request, which makes Ollama stop. Raises `ModelError`.
    """

    def read(part: ollama.ChatResponse) -> tuple[str | None, str | None]:
        return part.message.content, part.message.thinking

    parts = client(host).chat(
        model, messages, options=options, think=think, format=format, stream=True
    )
    return await relay(host, model, options, parts, read, on_part)


async def relay(
    host: str,
    model: str,
    options: dict[str, Any],
    request: Awaitable[AsyncIterator[Part]],
    read: Callable[[Part], tuple[str | None, str | None]],
    on_part: OnPart,
) -> Stats:
    """Make a request that has `model` write, and pass on what it writes, as `chat` says.

    `read` returns the text and the thinking of a part.
    """
    loop = asyncio.get_running_loop()
    limit, armed_at = settings.OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS, -math.inf
    rearm_after = min(1.0, limit / 10)
    async with (
        call(host, model, options.get("num_ctx", 0)) as this,
        asyncio.timeout(settings.OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS) as patience,
    ):
        this.give_up = lambda: patience.reschedule(loop.time())
        async with aclosing(cast(AsyncGenerator[Part], await request)) as parts:
            async for part in parts:
                # Not for every token: setting a timer costs a tenth of relaying one.
                if (now := loop.time()) - armed_at > rearm_after:
                    armed_at = now
                    patience.reschedule(now + limit)
                    this.hear()
                text, thinking = read(part)
                if text or thinking:
                    on_part(storable(text), storable(thinking))
                if part.done:
                    return Stats(
                        count_or_zero(part.prompt_eval_count),
                        count_or_zero(part.eval_count),
                        count_or_zero((part.total_duration or 0) // NANOSECONDS_IN_A_MILLISECOND),
                        "length" if part.done_reason == "length" else "stop",
                    )
    raise ModelUnavailable("The model server ended in the middle of the reply.")


def count_or_zero(number: Any) -> int:
    """Return a count from Ollama, or 0 where it is none or too large to be stored."""
    return number if isinstance(number, int) and 0 < number <= MAX_STORED_NUMBER else 0


def storable(text: str | None) -> str:
    """Replace what cannot be stored in a piece of text: NUL, and halves of a surrogate pair."""
    if not text:
        return ""
    text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


async def models(*, fresh: bool = False) -> list[Model]:
    """Return the models of all hosts, at most 30 s old. Raises `ModelError`."""
    by_name: dict[str, Model] = {}
    for found in (await _models_by_host(fresh=fresh)).values():
        for model in found:
            by_name.setdefault(model["name"], model)
    return list(by_name.values())


_names: dict[str, set[str]] = {}  # of the models of each host that has told


async def _models_by_host(*, fresh: bool = False) -> dict[str, list[Model]]:
    """Return the models of each host that answers. Raises `ModelError` where none does."""
    told: dict[str, list[Model] | None] | None
    told = None if fresh else await cache.aget(MODELS_CACHE_KEY)
    if told is None or told.keys() != set(hosts()):
        told, failure = {}, None
        answers = await asyncio.gather(*map(_models_at, hosts()), return_exceptions=True)
        for host, answer in zip(hosts(), answers, strict=True):
            if isinstance(answer, ModelError):
                failure, told[host] = failure or answer, None
            elif isinstance(answer, BaseException):
                raise answer
            else:
                told[host] = answer
        if failure and not any(models is not None for models in told.values()):
            raise failure
        seconds = FEWER_MODELS_CACHE_SECONDS if failure else MODELS_CACHE_SECONDS
        await cache.aset(MODELS_CACHE_KEY, told, seconds)
    found = {host: models for host, models in told.items() if models is not None}
    _names.clear()
    _names.update({host: {model["name"] for model in models} for host, models in found.items()})
    return found


def _look_up_seconds() -> float:
    return LOOK_UP_SECONDS if len(hosts()) == 1 else LOOK_UP_ELSEWHERE_SECONDS


async def _models_at(host: str) -> list[Model]:
    await calls.health_of(host).check()
    async with call(host), asyncio.timeout(_look_up_seconds()):
        listing = await client(host).list()
    return [
        Model(
            name=model.model or "",
            size=int(model.size or 0),
            family=(model.details and model.details.family) or "",
            parameter_size=(model.details and model.details.parameter_size) or "",
            modified_at=model.modified_at.isoformat() if model.modified_at else "",
        )
        for model in listing.models
    ]


def hosts_of(model: str) -> Sequence[str]:
    """Return the hosts that a call for a model can go to.

    These answer and have it, as far as is known; where there are none, the call finds out.
    """
    if len(hosts()) == 1:
        return hosts()
    name = full_name(model)
    having = [host for host in hosts() if host not in _names or name in _names[host]]
    up = [host for host in having if calls.health_of(host).is_up(model)]
    return up or having or hosts()


def running() -> dict[str, int]:
    """Return how many calls of this process have a model write, by host."""
    return {host: calls.health_of(host).running for host in hosts()}


async def at_any(model: str, ask: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Return the answer of the first host of a model that answers. Raises `ModelError`."""
    if len(hosts()) > 1:
        calls.revive()
        await _models_by_host()
    failure: ModelError | None = None
    for host in hosts_of(model):
        try:
            return await ask(host)
        except ModelError as error:
            failure = failure or error
    raise failure or ModelUnavailable


def full_name(model: str) -> str:
    """Return a model's name as Ollama lists it: the tag is `latest` where none is given."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


async def require_model(model: str) -> None:
    """Raise `UnknownModel` unless Ollama has the model; one just pulled is found too."""
    for fresh in (False, True):
        names = [known["name"] for known in await models(fresh=fresh)]
        if full_name(model) in names:
            return
    raise UnknownModel(model, names)


class ModelDetails(NamedTuple):
    """What Ollama reports about a model; the context length is in tokens."""

    context_length: int
    template: str
    has_renderer: bool  # one of Ollama's own takes the place of the template


# By host and model, with the time of reading.
_details: dict[tuple[str, str], tuple[ModelDetails, float]] = {}


async def details(model: str) -> ModelDetails:
    """Return what Ollama reports about `model`, at most 30 s old. Raises `ModelError`."""
    return await at_any(model, lambda host: _details_at(host, model))


async def _details_at(host: str, model: str) -> ModelDetails:
    await calls.health_of(host).check(model)
    known, read_at = _details.get((host, model), (None, 0.0))
    if known is None or time.monotonic() - read_at > MODELS_CACHE_SECONDS:
        async with call(host, model), asyncio.timeout(_look_up_seconds()):
            shown = await client(host).show(model)
            info = shown.modelinfo or {}
            length = info.get(f"{info.get('general.architecture')}.context_length")
        known = ModelDetails(
            count_or_zero(length) or settings.CHAT_CONTEXT_WINDOW_MAX,
            shown.template or "",
            bool((shown.model_extra or {}).get("renderer")),
        )
        _details[host, model] = known, time.monotonic()
    return known


async def context_length(model: str) -> int:
    """Return how many tokens `model` was trained to see at once. Raises `ModelError`."""
    return (await details(model)).context_length


async def window(model: str) -> int:
    """Return the `num_ctx` with which all calls load `model`. Raises `ModelError`."""
    return min(await context_length(model), settings.CHAT_CONTEXT_WINDOW_MAX)


def pull(host: str, model: str) -> Iterator[tuple[str, int, int]]:
    """Have a host download a model; yield its status, the bytes done and the bytes in total.

    Blocks: meant for the command line. Raises `ModelError`.
    """
    try:
        for progress in ollama.Client(host=host).pull(model, stream=True):
            yield progress.status or "", progress.completed or 0, progress.total or 0
    except ollama.ResponseError as error:
        raise ModelUnavailable(f"Ollama could not pull {model}: {error.error}.") from None
    except (httpx.TransportError, ConnectionError):
        raise ModelUnavailable(f"Ollama does not answer at {host}.") from None

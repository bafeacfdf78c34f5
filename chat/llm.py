"""The only place that talks to Ollama; its failures become ours.

ModelError                what a client can read about a model that did not answer
├── ModelUnavailable      Ollama is down, refuses, is busy, or talks nonsense
├── ModelMissing          Ollama does not have the model
├── PromptTooLong         the model counts more tokens than were estimated
└── ModelTimeout          Ollama did not answer in time
UnknownModel              the client chose a model that Ollama does not have
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from textwrap import shorten
from typing import Any, NamedTuple, TypedDict, cast
from weakref import WeakKeyDictionary

import aiohttp
import httpx
import ollama
from django.conf import settings
from django.core.cache import cache
from httpx_aiohttp import AiohttpTransport

from llama_chatbot.errors import ApiError

MODELS_CACHE_KEY = "ollama-models"
MODELS_CACHE_SECONDS = 30
PROBE_SECONDS = 2.0  # for Ollama's version
LOOK_UP_SECONDS = 10.0  # for its models
DOUBTED_SECONDS = 3.0  # without an answer
FAIL_FAST_SECONDS = 3.0
NANOSECONDS_IN_A_MILLISECOND = 1_000_000
MAX_STORED_NUMBER = 2**31 - 1
MAX_REASON_LENGTH = 200
TOO_LONG = re.compile(r"(exceeds|longer than) (the )?(maximum |available )?context")

# What ollama's client raises for an answer that is not Ollama's: not JSON, not an object, or an
# object of another shape.
GARBAGE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class ModelError(ApiError):
    """The model did not answer, or stopped in the middle."""

    status = 503


class ModelUnavailable(ModelError):
    """Ollama is down, refuses, is busy, or talks nonsense."""

    code = "model_unavailable"
    message = "The model cannot be reached just now: try again in a moment."


class ModelMissing(ModelError):
    """Ollama does not have the model."""

    code = "model_missing"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model {model} is not installed: the operator can get it with "
            f"`python manage.py pullmodel {model}`."
        )


class PromptTooLong(ModelError):
    """The model counts more tokens than were estimated."""

    status, code = 400, "invalid"
    message = "The message is too long for the model's window: shorten it."


class ModelTimeout(ModelError):
    """Ollama did not answer in time."""

    status, code = 504, "model_timeout"
    message = "The model did not answer in time: try again in a moment."


class UnknownModel(ApiError):
    """The client chose a model that Ollama does not have."""

    def __init__(self, model: str, models: Sequence[str]) -> None:
        known = ", ".join(models) or "none"
        super().__init__(
            "There is no such model.",
            fields={"model": [f"There is no model {model}. Models to choose from: {known}."]},
        )


class Model(TypedDict):
    """A model that Ollama has; `size` is in bytes."""

    name: str
    size: int
    family: str
    parameter_size: str
    modified_at: str


class Prompt(TypedDict):
    """One message as the model sees it."""

    role: str
    content: str


class Record(NamedTuple):
    """Ollama's own record of a reply; durations in milliseconds."""

    prompt_tokens: int
    completion_tokens: int
    duration_ms: int


class Client(ollama.AsyncClient):
    """Ollama's own, which asks it to refuse a prompt or a reply that does not fit.

    By itself Ollama cuts them silently, and the client's `chat` cannot say otherwise.
    """

    async def _request(self, *args: Any, **kwargs: Any) -> Any:
        if "/api/chat" in args:
            kwargs["json"] |= {"truncate": False, "shift": False}
        return await super()._request(*args, **kwargs)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()


def client() -> Client:
    """Return the event loop's one client: making one costs 25 ms."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        transport = AiohttpTransport(
            # Every running reply holds a connection, so their number must not be limited here.
            client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        _clients[loop] = Client(
            host=settings.OLLAMA_HOST,
            transport=transport,
            timeout=httpx.Timeout(None, connect=settings.OLLAMA_CONNECT_TIMEOUT_SECONDS),
            headers={"Accept-Encoding": "identity"},  # its lines are read as they come
            event_hooks={"response": [_split_at_newlines]},
        )
    return _clients[loop]


async def _split_at_newlines(response: httpx.Response) -> None:
    """Have a response split into lines as JSON lines are.

    By itself httpx also splits where Unicode does, such as at U+0085, in the middle of a text; and
    its layers between the stream and a line take a sixth of the CPU time of relaying a token.
    """

    async def lines() -> AsyncIterator[str]:
        rest = b""
        async for chunk in cast(httpx.AsyncByteStream, response.stream):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode()
        if rest:
            yield rest.decode()

    response.aiter_lines = lines  # type: ignore[method-assign]


async def close() -> None:
    """Close the event loop's client, at the end of the process."""
    if opened := _clients.pop(asyncio.get_running_loop(), None):
        await opened.close()  # type: ignore[no-untyped-call]


class Health:
    """Whether Ollama answers at all.

    A call that found no answer, or that waits for long, raises a doubt. The next call then asks for
    Ollama's version first, and so do all that come meanwhile, by the same question. Where that is
    not answered either, calls fail at once for some seconds instead of queueing up.
    """

    def __init__(self) -> None:
        self.is_doubted = False
        self.fail_until = 0.0  # of time.monotonic()
        self.waiting: dict[object, float] = {}  # calls without an answer, and since when
        self._question: asyncio.Task[bool] | None = None

    async def check(self) -> None:
        """Raise `ModelUnavailable` where Ollama is known not to answer."""
        now = time.monotonic()
        if now < self.fail_until:
            raise ModelUnavailable
        if self.is_doubted or any(now - since > DOUBTED_SECONDS for since in self.waiting.values()):
            if self._question is None:
                self._question = asyncio.create_task(self._ask())
            if not await asyncio.shield(self._question):
                raise ModelUnavailable

    async def _ask(self) -> bool:
        try:
            await version()
        except ModelError:
            self.fail_until = time.monotonic() + FAIL_FAST_SECONDS
            return False
        else:
            self.is_doubted = False
            return True
        finally:
            self._question = None


health = Health()


@asynccontextmanager
async def _call(model: str = "") -> AsyncIterator[Callable[[], None]]:
    """Turn all that can go wrong with Ollama into one of this module's errors.

    Yields what is to be called once Ollama has answered, where that is before the end.
    """
    call = object()
    health.waiting[call] = time.monotonic()

    def has_answered() -> None:
        health.waiting.pop(call, None)

    try:
        yield has_answered
    except TimeoutError:
        health.is_doubted = True
        raise ModelTimeout from None
    except (httpx.TransportError, aiohttp.ClientError, ConnectionError) as error:
        health.is_doubted = True
        raise ModelUnavailable from error
    except ollama.ResponseError as error:
        if error.status_code == 404 and model:
            raise ModelMissing(model) from None
        if error.status_code == 400 and TOO_LONG.search(str(error.error)):
            raise PromptTooLong(fields={"message": [PromptTooLong.message]}) from None
        reason = shorten(str(error.error), MAX_REASON_LENGTH, placeholder="…")
        raise ModelUnavailable(f"The model server refused: {reason}") from None
    except GARBAGE as error:
        raise ModelUnavailable("The model server's answer makes no sense.") from error
    finally:
        has_answered()


async def chat(
    model: str,
    messages: Sequence[Prompt],
    options: dict[str, Any],
    on_part: Callable[[str, str], None],
    *,
    think: bool | None = None,
) -> Record:
    """Have `model` write a reply, and return Ollama's record of it.

    `on_part(text, thinking)` gets each piece as it comes. A model that can think does, unless
    `think` is False. Cancelling the call closes the request,
    which makes Ollama stop. Raises `ModelError`.
    """
    loop = asyncio.get_running_loop()
    limit, armed_at = settings.OLLAMA_NEXT_TOKEN_TIMEOUT_SECONDS, 0.0
    async with (
        _call(model) as has_answered,
        asyncio.timeout(settings.OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS) as patience,
        aclosing(
            cast(
                AsyncGenerator[ollama.ChatResponse],
                await client().chat(model, messages, options=options, think=think, stream=True),
            )
        ) as parts,
    ):
        async for part in parts:
            has_answered()
            # Not at each token: setting a timer costs a tenth of what relaying one does.
            if (now := loop.time()) - armed_at > limit / 10:
                armed_at = now
                patience.reschedule(now + limit)
            message = part.message
            if message.content or message.thinking:
                on_part(storable(message.content), storable(message.thinking))
            if part.done:
                return Record(
                    sane(part.prompt_eval_count),
                    sane(part.eval_count),
                    sane((part.total_duration or 0) // NANOSECONDS_IN_A_MILLISECOND),
                )
    raise ModelUnavailable("The model server ended in the middle of the reply.")


def sane(number: Any) -> int:
    """Return a number that Ollama tells, 0 for one that makes no sense or cannot be stored."""
    return number if isinstance(number, int) and 0 < number <= MAX_STORED_NUMBER else 0


def storable(text: str | None) -> str:
    """Return a piece of text without what cannot be stored: NUL, and halves of a surrogate pair."""
    if not text:
        return ""
    text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


async def version() -> str:
    """Return Ollama's version: the cheapest sign of life. Raises `ModelError`."""
    async with _call(), asyncio.timeout(PROBE_SECONDS):
        # ollama's client has no call for it.
        response = await client()._client.get("/api/version")
        response.raise_for_status()
        return str(response.json()["version"])


async def models(*, fresh: bool = False) -> list[Model]:
    """Return the models that Ollama has, at most 30 s old. Raises `ModelError`."""
    found: list[Model] | None = None if fresh else await cache.aget(MODELS_CACHE_KEY)
    if found is None:
        await health.check()
        async with _call(), asyncio.timeout(LOOK_UP_SECONDS):
            listing = await client().list()
        found = [
            Model(
                name=model.model or "",
                size=int(model.size or 0),
                family=(model.details and model.details.family) or "",
                parameter_size=(model.details and model.details.parameter_size) or "",
                modified_at=model.modified_at.isoformat() if model.modified_at else "",
            )
            for model in listing.models
        ]
        await cache.aset(MODELS_CACHE_KEY, found, MODELS_CACHE_SECONDS)
    return found


def full_name(model: str) -> str:
    """Return the name as Ollama lists it: without a tag, `latest` is meant."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


async def require_model(model: str) -> None:
    """Raise `UnknownModel` unless Ollama has the model, be it pulled a moment ago."""
    for fresh in (False, True):
        names = [known["name"] for known in await models(fresh=fresh)]
        if full_name(model) in names:
            return
    raise UnknownModel(model, names)


_context_lengths: dict[str, tuple[int, float]] = {}  # by model: tokens, time of reading


async def context_length(model: str) -> int:
    """Return how many tokens `model` was trained to see at once. Raises `ModelError`."""
    await health.check()
    tokens, read_at = _context_lengths.get(model, (0, 0.0))
    if not tokens or time.monotonic() - read_at > MODELS_CACHE_SECONDS:
        async with _call(model), asyncio.timeout(LOOK_UP_SECONDS):
            info = (await client().show(model)).modelinfo or {}
        length = info.get(f"{info.get('general.architecture')}.context_length")
        tokens = sane(length) or settings.CHAT_CONTEXT_WINDOW_MAX
        _context_lengths[model] = tokens, time.monotonic()
    return tokens


def pull(model: str) -> Iterator[tuple[str, int, int]]:
    """Have Ollama download a model; yield its status with bytes done and bytes in all.

    Blocks, for the command line. Raises `ModelError`.
    """
    try:
        for progress in ollama.Client(host=settings.OLLAMA_HOST).pull(model, stream=True):
            yield progress.status or "", progress.completed or 0, progress.total or 0
    except ollama.ResponseError as error:
        raise ModelUnavailable(f"Ollama could not pull {model}: {error.error}.") from None
    except (httpx.TransportError, ConnectionError):
        raise ModelUnavailable(f"Ollama does not answer at {settings.OLLAMA_HOST}.") from None

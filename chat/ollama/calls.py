"""What all calls to Ollama share: their errors, and the health that they tell of and depend on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import httpx
import ollama
from django.conf import settings

from chat.ollama.errors import ModelTimeout, ModelUnavailable
from chat.ollama.hosts import Call, Health
from chat.ollama.placement import hosts
from chat.ollama.refusals import model_error
from chat.ollama.transport import client

VERSION_SECONDS = 2.0
PROBE_SECONDS = 1.0  # for Ollama's version, where it is doubted

# What ollama's client raises for an answer that is not Ollama's: not JSON, not an object, or with
# other fields.
GARBAGE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


@asynccontextmanager
async def call(host: str, model: str = "", num_ctx: int = 0) -> AsyncIterator[Call]:
    """Turn whatever goes wrong in a call to a host into one of `errors`.

    `num_ctx` is 0 for a call that is only about a model, and does not need it to run.
    """
    health = health_of(host)
    this = health.begin(model, num_ctx) if num_ctx else health.begin()
    if num_ctx and len(hosts()) > 1:
        health.watch()
    try:
        yield this
        this.hear()
    except TimeoutError:
        this.time_out()
        raise ModelTimeout from None
    except (httpx.TransportError, aiohttp.ClientError, ConnectionError) as error:
        this.break_off()
        raise ModelUnavailable from error
    except ollama.ResponseError as error:
        this.hear()
        raise model_error(error.status_code, error.error, model) from None
    except GARBAGE as error:
        raise ModelUnavailable("The model server sent an answer that cannot be used.") from error
    finally:
        health.end(this)


async def version(host: str, seconds: float = VERSION_SECONDS) -> str:
    """Return a host's version: the cheapest sign of life. Raises `ModelError`."""
    async with call(host), asyncio.timeout(seconds):
        return await client(host).version()


async def _write_a_token(host: str, model: str, num_ctx: int) -> None:
    seconds = settings.OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS
    async with call(host, model, num_ctx), asyncio.timeout(seconds):
        await client(host).generate(
            model, "1", raw=True, think=False, options={"num_ctx": num_ctx, "num_predict": 1}
        )


healths: dict[str, Health] = {}  # by host


def health_of(host: str) -> Health:
    """Return what is known of a host's health."""
    if host not in healths:
        healths[host] = Health(lambda: version(host, PROBE_SECONDS), partial(_write_a_token, host))
    return healths[host]


def revive() -> None:
    """Have the hosts and models that do not answer asked whether they do again, with several."""
    if len(hosts()) > 1:
        for host in hosts():
            health_of(host).revive()

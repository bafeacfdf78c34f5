"""`GET /metrics`: what Prometheus reads, for all processes on this host in one answer."""

import asyncio
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from chat.models import Message, Turn
from chat.ollama import calls
from chat.ollama.placement import hosts, without_password
from core import metrics, shared_metrics
from core.addresses import client_address
from core.database import in_background
from core.errors import Forbidden, NotAuthenticated, Unavailable
from core.threads import Threads, Use
from llama_chatbot.health import readiness

SAMPLE_SECONDS = 2.0
DATABASE_SECONDS = 2.0
FILES_SECONDS = 4.0

# A request with one of these has come through a proxy, which may stand on this machine.
FORWARDED = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
)
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

threads = Threads(1, "metrics")


@require_safe
async def read_metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics in Prometheus's text format.

    Raises `NotAuthenticated` without METRICS_TOKEN; where that is not set, `Forbidden` to callers
    on other machines. A database that does not answer is waited for no longer than for two seconds,
    and what would come from it is left out.
    """
    check_may_read(request)
    sample()
    state, replies = await asyncio.gather(readiness.read(), count_in_time())
    try:
        async with asyncio.timeout(FILES_SECONDS):
            text = await asyncio.to_thread(write, state, replies)
    except TimeoutError:
        raise Unavailable("The metrics of the other processes cannot be read.") from None
    return HttpResponse(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def check_may_read(request: HttpRequest) -> None:
    """Raise `NotAuthenticated` or `Forbidden` unless the caller may read the metrics."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        if not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
            raise NotAuthenticated("The metrics need the token of the setting METRICS_TOKEN.")
    elif not is_of_this_machine(request):
        raise Forbidden("The metrics are for this machine alone: see the setting METRICS_TOKEN.")


def is_of_this_machine(request: HttpRequest) -> bool:
    """Return whether a request was made on this machine, and not through a proxy on it."""
    if any(name in request.headers for name in FORWARDED):
        return False
    # One that says nothing of the client may still pass on the name by which it was called.
    name, _ = split_domain_port(request.headers.get("Host", ""))
    return name in LOCAL_NAMES and ip_address(client_address(request)).is_loopback


# --- What is a state ------------------------------------------------------------------------------


async def sample_forever() -> None:
    """Sample the states of this process, for whichever process is asked, until cancelled."""
    while True:
        sample()
        await asyncio.sleep(SAMPLE_SECONDS)


def sample() -> None:
    """Sample the states of this process."""
    metrics.processes.set(1)
    for name, use in pools():
        metrics.pool_size.labels(name).set(use.size)
        metrics.pool_in_use.labels(name).set(use.in_use)
        metrics.pool_waiting.labels(name).set(use.waiting)
    for host in hosts():
        name, health = without_password(host), calls.health_of(host)
        metrics.host_calls.labels(name).set(health.calls_under_way)
        metrics.host_breaker_open.labels(name).set(health.is_hung)


def pools() -> Iterator[tuple[str, Use]]:
    """Yield the pools of this process, each with its use."""
    yield from Threads.use().items()
    pool = getattr(connection, "pool", None)  # PostgreSQL's alone
    if pool:
        stats = pool.get_stats()
        size, idle = stats["pool_size"], stats["pool_available"]
        yield "postgresql", Use(stats["pool_max"], size - idle, stats["requests_waiting"])


class Replies(NamedTuple):
    """How many replies of all processes are being written, and how many calls wait for a turn."""

    running: int
    waiting: int


def count() -> Replies:
    """Count the replies; blocks on the database."""
    waiting = Turn.objects.filter(host="")
    replies = waiting.exclude(reply_id=None).values("reply_id")
    running = Message.objects.generating().exclude(pk__in=replies)
    return Replies(running.count(), waiting.count())


async def count_in_time() -> Replies | None:
    """Count the replies; return None where the database does not answer in time."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await in_background(threads, count)
    except (TimeoutError, DatabaseError):
        return None


class Families(list[Metric]):
    """Metrics that are known already, as prometheus_client wants to collect them."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self


def write(state: dict[str, str], replies: Replies | None) -> bytes:
    """Return all metrics as text."""
    if shared_metrics.is_joined():
        counted = shared_metrics.read(Path(settings.METRICS_DIRECTORY))
    else:
        counted = list(metrics.registry.collect())
    families: Any = Families([*asked_now(state, replies), *counted])
    return generate_latest(families)


def asked_now(state: dict[str, str], replies: Replies | None) -> Iterator[Metric]:
    """Yield the metrics that are asked for when they are read."""
    up = GaugeMetricFamily(
        "llama_chatbot_part_up", "Whether the database and the cache answer.", labels=["part"]
    )
    for part in ("database", "cache"):
        up.add_metric([part], state[part] == "ok")
    yield up
    host_up = GaugeMetricFamily(
        "llama_chatbot_ollama_up", "Whether an Ollama answers.", labels=["host"]
    )
    for host, is_up in readiness.hosts.items():
        host_up.add_metric([host], is_up)
    yield host_up
    if replies:
        yield GaugeMetricFamily(
            "llama_chatbot_replies_running",
            "Replies that are being written, by all processes on all hosts.",
            value=replies.running,
        )
        yield GaugeMetricFamily(
            "llama_chatbot_replies_waiting",
            "Calls to models that wait for their turn, of all processes on all hosts.",
            value=replies.waiting,
        )

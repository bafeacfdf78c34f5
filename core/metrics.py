"""What the server counts and measures for Prometheus: every name, and what it means.

Names are OpenTelemetry's where it has one (`gen_ai`, `http`), as Prometheus writes them. What
happens is counted by the code to which it happens. What is a state, such as how many calls run, is
sampled instead, by `llama_chatbot/metrics.py`.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

PREFIX = "llama_chatbot"

disable_created_metrics()  # type: ignore[no-untyped-call]  # only a lone process would have them

registry = CollectorRegistry()
"""All that this process counts; where processes share their metrics, it is in files instead."""

# --- HTTP -----------------------------------------------------------------------------------------

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

http_requests = Histogram(
    "http_server_request_duration_seconds",
    "Time from a request to the end of its response, of a stream to the stream's end.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.005, 0.025, 0.1, 0.5, 2.5, 10, 40),
    registry=registry,
)


def http_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request. `route` is the template of the path, "" where it has none."""
    known = method if method in METHODS else "_OTHER"
    http_requests.labels(known, route, status).observe(seconds)


# --- Replies --------------------------------------------------------------------------------------

# OpenTelemetry's for `gen_ai`, and on to the longest that the server waits for a first token.
SECONDS = (*(0.01 * 2**power for power in range(14)), 163.84, 327.68)
TOKENS = tuple(4**power for power in range(9))
MODEL = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
CHAT = "chat", "ollama"  # the first two, which conventions require

replies_ended = Counter(
    f"{PREFIX}_replies_ended",
    "Replies that have ended, by their status and, of one that failed, the code of the error.",
    ["status", "code"],
    registry=registry,
)
queue_seconds = Histogram(
    f"{PREFIX}_queue_seconds",
    "Time that a call to a model waits for its turn, where their number is limited.",
    buckets=SECONDS,
    registry=registry,
)
time_to_first_chunk = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Time from the call to the model to the first of the reply.",
    MODEL,
    buckets=SECONDS,
    registry=registry,
)
reply_seconds = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Time from a reply's beginning to its end, with the time that it waits for its turn.",
    [*MODEL, "error_type"],
    buckets=SECONDS,
    registry=registry,
)
tokens = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a prompt (input) or a reply (output); their sum is the tokens in all.",
    [*MODEL, "gen_ai_token_type"],
    buckets=TOKENS,
    registry=registry,
)
takeovers = Counter(
    f"{PREFIX}_takeovers",
    "Replies of processes that have died or ended, carried on by another.",
    registry=registry,
)
checkpoint_seconds = Histogram(
    f"{PREFIX}_checkpoint_delay_seconds",
    "Time from when the running replies are due to be stored to when they are.",
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2, 4, 8),
    registry=registry,
)


def reply_ended(status: str, code: str, model: str, milliseconds: int | None) -> None:
    """Count a reply that has ended; `milliseconds` is None where nobody wrote it to its end."""
    replies_ended.labels(status, code).inc()
    if milliseconds is not None:
        reply_seconds.labels(*CHAT, model, code).observe(milliseconds / 1000)


def first_token(model: str, seconds: float) -> None:
    """Count the time that the first token of a reply took."""
    time_to_first_chunk.labels(*CHAT, model).observe(seconds)


def tokens_used(model: str, prompt_tokens: int, completion_tokens: int) -> None:
    """Count the tokens that a call to a model has used."""
    tokens.labels(*CHAT, model, "input").observe(prompt_tokens)
    tokens.labels(*CHAT, model, "output").observe(completion_tokens)


# A count that begins with its first event hides it from `rate`, which then sees no increase.
for _status in ("complete", "stopped", "interrupted"):
    replies_ended.labels(_status, "")

# --- The cache ------------------------------------------------------------------------------------

cache_errors = Counter(
    f"{PREFIX}_cache_errors",
    "Operations of a Memcached server that failed; for a second after one, no more are tried.",
    ["server"],
    registry=registry,
)
calls_not_counted = Counter(
    f"{PREFIX}_calls_not_counted",
    "Calls that no rate limit counted, because the cache was away.",
    ["limit"],
    registry=registry,
)

# --- States, sampled in each process: the sum or the maximum over all that live -------------------

pool_size = Gauge(
    f"{PREFIX}_pool_size",
    "How many threads or database connections a pool may have.",
    ["pool"],
    multiprocess_mode="livesum",
    registry=registry,
)
pool_in_use = Gauge(
    f"{PREFIX}_pool_in_use",
    "How many of a pool's threads or database connections are busy.",
    ["pool"],
    multiprocess_mode="livesum",
    registry=registry,
)
pool_waiting = Gauge(
    f"{PREFIX}_pool_waiting",
    "How much work waits for one of a pool's threads or database connections.",
    ["pool"],
    multiprocess_mode="livesum",
    registry=registry,
)
host_calls = Gauge(
    f"{PREFIX}_ollama_calls",
    "Calls to an Ollama that are under way.",
    ["host"],
    multiprocess_mode="livesum",
    registry=registry,
)
host_breaker_open = Gauge(
    f"{PREFIX}_ollama_breaker_open",
    "1 where a process makes no calls to an Ollama for now, because it has not answered.",
    ["host"],
    multiprocess_mode="livemax",
    registry=registry,
)
processes = Gauge(
    f"{PREFIX}_processes",
    "Processes of this server on this host.",
    multiprocess_mode="livesum",
    registry=registry,
)

"""GET /metrics: who may read it, and what each event changes in it."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import httpx
import pytest

from llama_chatbot.metrics import FORWARDED
from testing.answers import refusal
from testing.exposition import Metrics, metrics_of
from testing.people import Caller
from testing.processes import Memcached, Server, StartServer
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, SSE, sending
from testing.waiting import wait_until

TOKEN = "a-token-of-the-metrics"
MODEL = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "ollama"}


# --- Who may read ---------------------------------------------------------------------------------


def test_this_machine_reads_without_a_token(nobody: Caller) -> None:
    answer = nobody.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", FORWARDED)
def test_what_a_proxy_on_this_machine_passes_on_is_refused(nobody: Caller, name: str) -> None:
    answer = nobody.get("/metrics", headers={name: "127.0.0.1"})

    assert refusal(answer) == (403, "forbidden")


@pytest.mark.parametrize("host", ["example.com", "llama_chatbot", "localhost.example.com", ""])
def test_what_calls_this_machine_by_another_name_is_refused(nobody: Caller, host: str) -> None:
    assert refusal(nobody.get("/metrics", headers={"Host": host})) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_this_machine_has_several_names(nobody: Caller, host: str) -> None:
    assert nobody.get("/metrics", headers={"Host": host}).status_code == 200


def test_an_operator_behind_a_proxy_is_refused_as_well(staff: Caller) -> None:
    answer = staff.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})

    assert refusal(answer) == (403, "forbidden")


def test_with_a_token_the_metrics_can_be_read_from_anywhere(start_server: StartServer) -> None:
    with Caller(start_server(METRICS_TOKEN=TOKEN).url) as reader:
        reader.headers.update({"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.1"})
        answer = reader.get("/metrics", headers={"Host": "10.0.0.5:8000"})

        assert answer.status_code == 200


def test_without_the_token_nobody_reads(start_server: StartServer) -> None:
    with Caller(start_server(METRICS_TOKEN=TOKEN).url) as reader:
        for given in ("", TOKEN, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            answer = reader.get("/metrics", headers={"Authorization": given})
            assert refusal(answer) == (401, "not_authenticated"), given


def test_prometheus_is_not_sent_to_https(start_server: StartServer) -> None:
    with Caller(start_server(SECURE_SSL_REDIRECT="true").url) as reader:
        assert reader.get("/metrics").status_code == 200


def test_the_metrics_are_only_read(nobody: Caller) -> None:
    answer = nobody.options("/metrics")

    assert refusal(answer) == (405, "method_not_allowed")
    assert nobody.head("/metrics").status_code == 200


# --- What it says ---------------------------------------------------------------------------------


@pytest.fixture
def changes(server: Server) -> Callable[[], Metrics]:
    """By how much each value has changed since the test began."""
    before = metrics_of(server.url)
    return lambda: metrics_of(server.url) - before


def test_a_reply_is_counted_with_its_times_and_tokens(
    ann: Caller, ollama: ScriptedOllama, changes: Callable[[], Metrics]
) -> None:
    ollama.script = Script(["one ", "two"], first_token_after=0.05, prompt_tokens=7)
    thread = ann.thread()
    ann.say(thread)

    wait_until(lambda: changes().value("llama_chatbot_replies_ended_total"))
    seen, model = changes(), {**MODEL, "gen_ai_request_model": thread.model}
    duration = "gen_ai_client_operation_duration_seconds"
    first = "gen_ai_client_operation_time_to_first_chunk_seconds"
    assert seen.value("llama_chatbot_replies_ended_total", status="complete", code="") == 1
    assert seen.value("llama_chatbot_replies_ended_total") == 1
    assert seen.value(f"{first}_count", **model) == 1
    assert seen.value(f"{first}_sum", **model) >= 0.05
    assert seen.value(f"{duration}_count", **model, error_type="") == 1
    assert seen.value(f"{duration}_sum", **model) >= seen.value(f"{first}_sum", **model)
    tokens = "gen_ai_client_token_usage_sum"
    assert seen.value(tokens, **model, gen_ai_token_type="input") == 7
    assert seen.value(tokens, **model, gen_ai_token_type="output") == 2


@pytest.mark.parametrize("tokens", [[], ["one "]], ids=["before-its-first-word", "later"])
def test_a_reply_that_failed_is_counted_with_its_code(
    ann: Caller, ollama: ScriptedOllama, changes: Callable[[], Metrics], tokens: list[str]
) -> None:
    ollama.script = Script(tokens, then="die")
    ann.say(ann.thread(), headers=SSE)

    wait_until(lambda: changes().value("llama_chatbot_replies_ended_total"))
    seen = changes()
    failed = {"status": "failed", "code": "model_unavailable"}
    assert seen.value("llama_chatbot_replies_ended_total", **failed) == 1
    durations = "gen_ai_client_operation_duration_seconds_count"
    assert seen.value(durations, error_type="model_unavailable") == 1


def test_a_reply_that_runs_is_counted_as_long_as_it_does(
    ann: Caller, ollama: ScriptedOllama, server: Server, changes: Callable[[], Metrics]
) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("one")
        assert metrics_of(server.url).value("llama_chatbot_replies_running") == 1
        assert changes().value("llama_chatbot_ollama_calls") == 1
        wait_until(lambda: changes().value("llama_chatbot_checkpoint_delay_seconds_count") >= 1)
        ann.post(f"/chat/threads/{thread.pk}/stop/")
        reading.to_the_end()

    wait_until(lambda: changes().value("llama_chatbot_ollama_calls") == 0)
    seen = changes()
    assert metrics_of(server.url).value("llama_chatbot_replies_running") == 0
    assert seen.value("llama_chatbot_replies_ended_total", status="stopped", code="") == 1


def test_what_waits_for_its_turn_is_counted(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server(OLLAMA_PARALLEL="1")
    ollama.script = Script(["one ", "two"], hold_after=1)

    def counts() -> tuple[float, float]:
        seen = metrics_of(server.url)
        names = ("llama_chatbot_replies_running", "llama_chatbot_replies_waiting")
        return seen.value(names[0]), seen.value(names[1])

    with Caller(server.url, ann.user) as ann, ThreadPoolExecutor(2) as readers:
        answers = [readers.submit(ann.say, ann.thread()) for _ in range(2)]
        wait_until(lambda: counts() == (1, 1), 15, lambda: f"{counts()}")
        ollama.script = Script(["one ", "two"])
        ollama.release()
        assert [answer.result().status_code for answer in answers] == [200, 200]

    wait_until(lambda: counts() == (0, 0), 15)
    assert metrics_of(server.url).value("llama_chatbot_queue_seconds_count") == 2


def test_requests_are_counted_by_the_template_of_their_path(
    ann: Caller, changes: Callable[[], Metrics], server: Server
) -> None:
    thread = ann.thread()
    ann.get(f"/chat/threads/{thread.pk}/")
    ann.get("/chat/threads/987654321/")
    ann.get("/nowhere/987654321/")
    ann.request("PROPFIND", "/chat/threads/")

    counts = "http_server_request_duration_seconds_count"
    route = {"http_route": "chat/threads/<int:thread_id>/", "http_request_method": "GET"}

    def seen() -> list[float]:
        change = changes()
        return [
            change.value(counts, **route, http_response_status_code="200"),
            change.value(counts, **route, http_response_status_code="404"),
            change.value(
                counts, http_route="", http_request_method="GET", http_response_status_code="404"
            ),
            change.value(counts, http_request_method="_OTHER", http_response_status_code="405"),
        ]

    wait_until(lambda: seen() == [1, 1, 1, 1], message=lambda: str(seen()))
    assert "987654321" not in httpx.get(f"{server.url}/metrics").text
    assert "PROPFIND" not in httpx.get(f"{server.url}/metrics").text


def test_a_stream_counts_to_its_end(ann: Caller, changes: Callable[[], Metrics]) -> None:
    thread = ann.thread()
    ann.say(thread, headers=NDJSON)

    def count() -> float:
        return changes().value(
            "http_server_request_duration_seconds_count",
            http_route="chat/streaming-response/<int:thread_id>/",
            http_request_method="POST",
            http_response_status_code=str(HTTPStatus.OK.value),
        )

    wait_until(lambda: count() == 1)


def test_an_ollama_that_is_away_is_down(
    server: Server, ollama: ScriptedOllama, ann: Caller
) -> None:
    name = "llama_chatbot_ollama_up"
    wait_until(lambda: metrics_of(server.url).value(name) == 1)
    ollama.stop()

    wait_until(lambda: metrics_of(server.url).value(name) == 0)
    (labels,) = metrics_of(server.url).labels(name)
    assert labels["host"] == ollama.url


def test_an_ollama_that_hangs_has_its_breaker_open(
    start_server: StartServer, ann: Caller, ollama: ScriptedOllama
) -> None:
    server = start_server(OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS="0.2")
    name = "llama_chatbot_ollama_breaker_open"
    assert metrics_of(server.url).value(name) == 0
    ollama.hang_everything = True
    with Caller(server.url, ann.user) as ann:
        thread = ann.thread()

        def is_open() -> bool:
            ann.say(thread)
            return metrics_of(server.url).value(name) == 1

        wait_until(is_open, 20)


def test_a_cache_that_is_away_counts_errors_and_calls_that_were_not_counted(
    start_server: StartServer, ann: Caller
) -> None:
    with Memcached() as memcached:
        server = start_server(CACHE_LOCATION=memcached.location)
        memcached.kill()
        with Caller(server.url, ann.user) as ann:
            assert ann.get("/chat/threads/").status_code == 200

        seen = metrics_of(server.url)
        assert seen.value("llama_chatbot_cache_errors_total", server=memcached.location) >= 1
        assert seen.value("llama_chatbot_calls_not_counted_total", limit="read") == 1
        wait_until(lambda: metrics_of(server.url).value("llama_chatbot_part_up", part="cache") == 0)


def test_pools_say_how_large_they_are(server: Server) -> None:
    seen = metrics_of(server.url)

    pools = {labels["pool"] for labels in seen.labels("llama_chatbot_pool_size")}
    assert {"request", "writer", "follower", "heartbeat", "password"} <= pools
    for pool in pools:
        size = seen.value("llama_chatbot_pool_size", pool=pool)
        assert 0 <= seen.value("llama_chatbot_pool_in_use", pool=pool) <= size
        assert seen.value("llama_chatbot_pool_waiting", pool=pool) >= 0


def test_no_value_has_the_password_of_an_ollama(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    url = ollama.url.replace("http://", "http://somebody:a-secret@")
    text = httpx.get(f"{start_server(OLLAMA_HOST=url).url}/metrics").text

    assert "secret" not in text
    assert 'llama_chatbot_ollama_up{host="127.0.0.1:' in text


def test_no_value_names_a_user_a_thread_or_what_was_said(
    server: Server, ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(title="a secret title")
    ann.say(thread, "a secret question")

    text = httpx.get(f"{server.url}/metrics").text
    assert "secret" not in text
    assert "ann" not in re.findall(r"\w+", text)

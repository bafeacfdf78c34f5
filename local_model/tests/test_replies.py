"""What the model answers, and how long its prompts and replies may be."""

import json
import threading
from typing import Any

import httpx
import ollama
import pytest

from testing.processes.bundled_model import BUNDLED_MODEL, Running

GREEDY = {"temperature": 0, "num_predict": 24}
STORY = [{"role": "user", "content": "Tell me a long story about a llama in the Andes."}]
SYSTEM = {"role": "system", "content": "You are a llama. You live in the Andes."}


def question(words: int, about: str = "owl") -> dict[str, str]:
    """A user's message of roughly ``words`` tokens."""
    return {"role": "user", "content": f"{about} " * words}


def final_record(server: Running, messages: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    """Chat without the official client, which drops fields that it does not know."""
    body = {"model": BUNDLED_MODEL, "messages": messages, "options": options, "stream": False}
    answer = httpx.post(f"{server.url}/api/chat", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def test_a_reply_is_streamed_token_by_token(client: ollama.Client) -> None:
    *parts, last = client.chat(BUNDLED_MODEL, STORY, stream=True, options=GREEDY)

    assert len(parts) > 10
    assert all(part.message.role == "assistant" and not part.done for part in parts)
    assert all(part.message.content for part in parts)
    assert (last.done, last.message.content) == (True, "")


def test_the_last_record_has_the_counts_and_durations(client: ollama.Client) -> None:
    *_, last = client.chat(BUNDLED_MODEL, STORY, stream=True, options=GREEDY)

    assert last.model == BUNDLED_MODEL
    assert last.done_reason == "length"
    assert last.eval_count == 24
    assert last.prompt_eval_count is not None
    assert 30 < last.prompt_eval_count < 60
    assert last.prompt_eval_duration
    assert last.eval_duration
    assert last.load_duration
    assert last.total_duration
    assert last.total_duration >= last.prompt_eval_duration + last.eval_duration


def test_a_whole_reply_is_the_streamed_one_in_one_piece(client: ollama.Client) -> None:
    streamed = client.chat(BUNDLED_MODEL, STORY, stream=True, options=GREEDY)
    whole = client.chat(BUNDLED_MODEL, STORY, options=GREEDY)

    assert whole.message.content == "".join(part.message.content or "" for part in streamed)
    assert whole.done
    assert whole.eval_count == 24


async def test_the_asynchronous_client_works_too(server: Running) -> None:
    client = ollama.AsyncClient(server.url)
    stream = await client.chat(BUNDLED_MODEL, STORY, stream=True, options={"num_predict": 3})

    assert [part.done async for part in stream] == [False, False, False, True]


def test_a_reply_ends_by_itself(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "What is 2+2?"}]

    reply = client.chat(BUNDLED_MODEL, messages, options={"temperature": 0, "num_predict": 100})

    assert reply.done_reason == "stop"
    assert "4" in (reply.message.content or "")


def test_a_reply_stops_before_a_stop_string(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Count from 1 to 20."}]
    options = {"temperature": 0, "num_predict": 40}
    unstopped = client.chat(BUNDLED_MODEL, messages, options=options).message.content or ""
    assert "3" in unstopped

    reply = client.chat(BUNDLED_MODEL, messages, options={**options, "stop": ["3"]})

    assert reply.done_reason == "stop"
    assert reply.message.content == unstopped.partition("3")[0]


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_the_same_seed_gives_the_same_reply(client: ollama.Client, temperature: float) -> None:
    options = {"temperature": temperature, "seed": 7, "num_predict": 40}

    replies = {client.chat(BUNDLED_MODEL, STORY, options=options).message.content for _ in range(2)}

    assert len(replies) == 1


def test_without_a_seed_replies_differ(client: ollama.Client) -> None:
    options = {"temperature": 1.5, "num_predict": 40}

    replies = {client.chat(BUNDLED_MODEL, STORY, options=options).message.content for _ in range(3)}

    assert len(replies) > 1


def test_letters_of_many_bytes_arrive_whole(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Repeat this line: 🦙🦙🦙 你好 🦙🦙🦙"}]

    parts = list(client.chat(BUNDLED_MODEL, messages, stream=True, options=GREEDY))

    assert not any("\N{REPLACEMENT CHARACTER}" in (part.message.content or "") for part in parts)


def test_the_prompt_count_is_the_whole_prompt_cached_or_not(server: Running) -> None:
    messages = [question(40, "heron")]
    first, second = (final_record(server, messages, num_predict=1) for _ in range(2))

    assert first["prompt_eval_count"] == second["prompt_eval_count"]
    assert second["prompt_eval_cached_count"] == second["prompt_eval_count"] - 1


def test_a_growing_conversation_is_not_evaluated_again(server: Running) -> None:
    messages = [question(80, "ibis")]
    for _ in range(3):
        before = final_record(server, messages, **GREEDY)
        messages += [before["message"], {"role": "user", "content": "Go on."}]

        now = final_record(server, messages, **GREEDY)

        assert now["prompt_eval_cached_count"] >= before["prompt_eval_count"]


def test_conversations_with_one_system_prompt_keep_their_own_slots(server: Running) -> None:
    threads = [[SYSTEM, question(60, bird)] for bird in ("dove", "crow", "gull")]
    firsts = [final_record(server, thread, num_predict=4) for thread in threads]
    for thread, first in zip(threads, firsts, strict=True):
        thread += [first["message"], {"role": "user", "content": "And then?"}]

    seconds = [final_record(server, thread, num_predict=4) for thread in threads]

    for first, second in zip(firsts, seconds, strict=True):
        assert second["prompt_eval_cached_count"] >= first["prompt_eval_count"]


def test_the_oldest_messages_are_dropped_when_the_window_is_full(client: ollama.Client) -> None:
    """As Ollama does it, the system message stays."""
    newest = [question(50, "teal"), {"role": "assistant", "content": "Yes."}, question(50, "rook")]
    options = {"num_ctx": 256, "num_predict": 1}
    expected = client.chat(BUNDLED_MODEL, [SYSTEM, *newest], options=options)

    reply = client.chat(BUNDLED_MODEL, [SYSTEM, *[question(70)] * 9, *newest], options=options)

    assert reply.prompt_eval_count == expected.prompt_eval_count


def test_prompt_and_reply_together_end_at_the_window(client: ollama.Client) -> None:
    reply = client.chat(BUNDLED_MODEL, STORY, options={"num_ctx": 64, "temperature": 0})

    assert reply.done_reason == "length"
    assert (reply.prompt_eval_count or 0) + (reply.eval_count or 0) == 64


def test_a_last_message_longer_than_the_window_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="exceeds the available context size") as refused:
        client.chat(BUNDLED_MODEL, [question(300)], stream=False, options={"num_ctx": 128})

    assert refused.value.status_code == 400


def test_no_message_is_dropped_with_truncate_off(client: ollama.Client) -> None:
    body = {
        "model": BUNDLED_MODEL,
        "messages": [question(70), {"role": "assistant", "content": "Yes."}, question(70)],
        "options": {"num_ctx": 128, "num_predict": 1},
        "stream": False,
    }

    cut = client._client.post("/api/chat", json=body)
    refused = client._client.post("/api/chat", json={**body, "truncate": False})

    assert cut.status_code == 200
    assert refused.status_code == 400
    inner = json.loads(refused.json()["error"])["error"]  # as a real Ollama's runner says it
    assert "exceeds the available context size" in inner["message"]
    assert (inner["n_ctx"], inner["type"]) == (128, "exceed_context_size_error")
    assert inner["n_prompt_tokens"] > 128


def test_a_window_larger_than_the_servers_is_capped(narrow: Running) -> None:
    with pytest.raises(ollama.ResponseError, match=r"context size \(2048 tokens"):
        ollama.Client(narrow.url).chat(
            BUNDLED_MODEL, [question(2100)], options={"num_ctx": 100_000}
        )


def test_an_empty_conversation_loads_the_model(client: ollama.Client) -> None:
    reply = client.chat(BUNDLED_MODEL, [])

    assert (reply.done, reply.done_reason, reply.message.content) == (True, "load", "")


def test_more_chats_than_slots_all_get_their_reply(server: Running) -> None:
    reasons: list[str | None] = []

    def ask(number: int) -> None:
        messages = [{"role": "user", "content": f"What is {number} plus {number}?"}]
        reply = ollama.Client(server.url).chat(BUNDLED_MODEL, messages, options={"num_predict": 8})
        reasons.append(reply.done_reason)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(reasons) == 10
    assert set(reasons) <= {"stop", "length"}


def test_the_records_have_the_same_fields_as_ollamas(server: Running) -> None:
    body = {"model": BUNDLED_MODEL, "messages": STORY, "options": {"num_predict": 1}}
    answer = httpx.post(f"{server.url}/api/chat", json=body, timeout=60)

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    first, last = map(json.loads, answer.text.splitlines())
    assert set(first) == {"model", "created_at", "message", "done"}
    assert set(last) == {
        *first,
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_cached_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    }

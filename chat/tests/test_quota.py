"""The daily allowance of tokens: 429 `quota_exceeded` once it is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from django.utils import timezone

from chat.models import Message, Usage
from chat.usage import seconds_until_midnight
from testing.answers import error_of
from testing.people import Caller
from testing.processes import Memcached, Server
from testing.scripted_ollama import Script, ScriptedOllama


def allow(caller: Caller, tokens: int | None) -> None:
    assert caller.user
    caller.user.daily_tokens = tokens
    caller.user.save()


def test_a_send_over_the_allowance_is_neither_sent_nor_stored(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Yes"], prompt_tokens=60, completion_tokens=40)
    allow(ann, 100)
    thread = ann.thread()
    assert ann.say(thread, "One").status_code == 200

    answer = ann.say(thread, "Two")

    body = error_of(answer, 429, "quota_exceeded")
    assert "100 tokens" in body["error"]
    assert abs(int(answer.headers["Retry-After"]) - seconds_until_midnight(timezone.now())) <= 5
    assert len(ollama.chats) == 1
    assert Message.objects.count() == 2
    error_of(ann.post(f"/chat/response/{thread.pk}/", json={"message": "x"}), 429, "quota_exceeded")


def test_under_the_allowance_messages_are_answered(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["Yes"], prompt_tokens=60, completion_tokens=39)
    allow(ann, 100)
    thread = ann.thread()

    assert [ann.say(thread).status_code for _ in range(2)] == [200, 200]


def test_replies_written_at_once_do_not_exceed_the_allowance(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Yes"], hold_after=0)
    allow(ann, 100)
    threads = [ann.thread(system_prompt="word " * 60) for _ in range(8)]
    callers = [Caller(str(ann.base_url), ann.user) for _ in threads]

    with ThreadPoolExecutor(len(threads)) as pool:
        sends = [
            pool.submit(caller.say, thread) for caller, thread in zip(callers, threads, strict=True)
        ]
        refused = [send.result() for send in islice(as_completed(sends), 7)]
        ollama.wait_for_open(1)
        ollama.release()

    for answer in refused:
        error_of(answer, 429, "quota_exceeded")
    assert len(ollama.chats) == 1


def test_a_new_day_has_a_new_allowance(ann: Caller) -> None:
    assert ann.user
    allow(ann, 100)
    yesterday = timezone.now().date() - timedelta(days=1)
    Usage.objects.create(user=ann.user, date=yesterday, model="tiny", prompt_tokens=1000)

    assert ann.say(ann.thread()).status_code == 200


def test_the_tokens_of_all_models_count_towards_the_allowance(ann: Caller) -> None:
    assert ann.user
    allow(ann, 100)
    for model in ("tiny", "llama3.2"):
        Usage.objects.create(
            user=ann.user, date=timezone.now().date(), model=model, prompt_tokens=50
        )

    error_of(ann.say(ann.thread()), 429, "quota_exceeded")


def test_the_use_of_somebody_else_does_not_count_towards_the_allowance(
    ann: Caller, bob: Caller
) -> None:
    assert bob.user
    allow(ann, 100)
    Usage.objects.create(
        user=bob.user, date=timezone.now().date(), model="tiny", prompt_tokens=1000
    )

    assert ann.say(ann.thread()).status_code == 200


def test_a_repeated_send_is_answered_over_the_allowance_too(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["Yes"], prompt_tokens=100, completion_tokens=1)
    allow(ann, 100)
    thread = ann.thread()
    key = {"Idempotency-Key": "once"}
    ann.say(thread, headers=key)

    again = ann.say(thread, headers=key)

    assert (again.status_code, again.text) == (200, "Yes")


def test_reading_takes_nothing_of_the_allowance(ann: Caller, ollama: ScriptedOllama) -> None:
    allow(ann, 1)
    thread = ann.thread()
    ann.say(thread)

    assert ann.get(f"/chat/threads/{thread.pk}/messages/").status_code == 200
    assert ann.get(f"/chat/streaming-response/{thread.pk}/").status_code == 200


@pytest.fixture(scope="module")
def frugal(
    server_environment: dict[str, str],
    memcached: Memcached,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    settings = {"CACHE_LOCATION": memcached.location, "CHAT_DAILY_TOKENS": "100"}
    with Server(tmp_path_factory.mktemp("frugal"), {**server_environment, **settings}) as server:
        yield server


@pytest.mark.parametrize(("own", "status"), [(None, 429), (0, 200), (1000, 200), (50, 429)])
def test_a_users_own_allowance_goes_before_the_servers(
    frugal: Server, ann: Caller, own: int | None, status: int
) -> None:
    assert ann.user
    Usage.objects.create(
        user=ann.user, date=timezone.now().date(), model="tiny", completion_tokens=100
    )
    allow(ann, own)

    with Caller(frugal.url, ann.user) as ann:
        assert ann.say(ann.thread()).status_code == status


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), 86400),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), 1),
        (datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC), 43200),
    ],
)
def test_the_wait_for_a_new_allowance_ends_with_the_day(now: datetime, seconds: int) -> None:
    assert seconds_until_midnight(now) == seconds

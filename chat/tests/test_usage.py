"""GET /auth/usage/: what a user has used of the models."""

from datetime import timedelta

import pytest
from django.utils import timezone

from chat.models import Usage
from testing.answers import error_of
from testing.people import Caller
from testing.replies import wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import NDJSON, sending

URL = "/auth/usage/"


def use(caller: Caller, days_ago: int, model: str = "tiny") -> None:
    assert caller.user
    Usage.objects.create(
        user=caller.user,
        date=timezone.now().date() - timedelta(days=days_ago),
        model=model,
        replies=1,
        prompt_tokens=10,
        completion_tokens=5,
    )


def test_somebody_who_said_nothing_has_used_nothing(ann: Caller) -> None:
    answer = ann.get(URL)

    assert answer.status_code == 200
    assert answer.json() == {
        "days": [],
        "total": {"replies": 0, "prompt_tokens": 0, "completion_tokens": 0},
    }


def test_usage_is_the_sum_of_ollamas_own_records(
    ann: Caller, bob: Caller, ollama: ScriptedOllama
) -> None:
    ollama.scripts += [
        Script(["a"], prompt_tokens=30, completion_tokens=5),
        Script(["b"], prompt_tokens=40, completion_tokens=6),
        Script(["c"], prompt_tokens=50, completion_tokens=7),
    ]
    thread = ann.thread()
    ann.say(thread)
    ann.say(thread)
    ann.say(ann.thread(model="tiny"))

    answer = ann.get(URL).json()

    today = {"date": str(timezone.now().date())}
    assert answer["days"] == [
        {**today, "model": "llama3.2", "replies": 2, "prompt_tokens": 70, "completion_tokens": 11},
        {**today, "model": "tiny", "replies": 1, "prompt_tokens": 50, "completion_tokens": 7},
    ]
    assert answer["total"] == {"replies": 3, "prompt_tokens": 120, "completion_tokens": 18}
    assert bob.get(URL).json()["days"] == []


def test_each_reply_has_its_own_record(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["a", "b"], prompt_tokens=30, interval=0.02)
    thread = ann.thread()

    ann.say(thread)

    usage = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"][-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (30, 2)
    assert usage["duration_ms"] >= 20
    assert 0 <= usage["first_token_ms"] < 5000


def test_a_reply_that_was_stopped_counts_by_what_came(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["One ", "two ", "three"], hold_after=2)
    thread = ann.thread()
    with sending(ann, thread) as reading:
        reading.until("two")
        ann.post(f"/chat/threads/{thread.pk}/stop/")
    wait_for_status(thread, "stopped")

    total = ann.get(URL).json()["total"]

    assert (total["replies"], total["completion_tokens"]) == (1, 2)
    assert total["prompt_tokens"] >= ollama.chats[0].prompt_tokens


def test_a_model_that_failed_at_once_costs_nothing(ann: Caller, ollama: ScriptedOllama) -> None:
    ollama.script = Script(status=500)
    ann.say(ann.thread(), headers=NDJSON)

    assert ann.get(URL).json()["total"]["replies"] == 0


def test_usage_is_that_of_the_last_thirty_days(ann: Caller) -> None:
    for days_ago in (0, 29, 30):
        use(ann, days_ago)

    assert ann.get(URL).json()["total"]["replies"] == 2


@pytest.mark.parametrize(("days", "replies"), [(1, 1), (2, 2), (366, 3)])
def test_usage_is_that_of_as_many_days_as_asked_for(ann: Caller, days: int, replies: int) -> None:
    for days_ago in (0, 1, 100):
        use(ann, days_ago)

    answer = ann.get(URL, params={"days": days}).json()

    assert answer["total"]["replies"] == replies
    dates = [day["date"] for day in answer["days"]]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("days", ["0", "367", "-1", "all", "9" * 5000])
def test_other_numbers_of_days_are_refused(ann: Caller, days: str) -> None:
    body = error_of(ann.get(URL, params={"days": days}), 400, "invalid")

    assert "days" in body["fields"]


def test_usage_requires_a_login(nobody: Caller) -> None:
    error_of(nobody.get(URL), 401, "not_authenticated")

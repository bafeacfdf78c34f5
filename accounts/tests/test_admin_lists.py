"""The admin's lists: what they cost, what they filter by, and what their addresses do not tell."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chat.models import Message, Thread, Usage
from testing.admin import USERS, Browser
from testing.answers import error_of
from testing.people import Caller, create_user


def test_a_longer_list_takes_no_more_queries(root: Browser, ann: Caller) -> None:
    def queries(model: Any) -> int:
        request = RequestFactory().get("/")
        request.user = root.user  # type: ignore[assignment]
        with CaptureQueriesContext(connection) as captured:
            admin.site._registry[model].changelist_view(request).render()  # type: ignore[attr-defined]
        return len(captured)

    def one_more(number: int) -> None:
        user = create_user(f"user{number}")
        thread = Thread.objects.create(user=user, model="m")
        Message.objects.create(thread=thread, sender="user", content="x")
        Usage.objects.create(user=user, model="m", date="2026-01-01")

    models = (User, Thread, Message, Usage)
    one_more(0)
    before = [queries(model) for model in models]
    for number in range(1, 6):
        one_more(number)

    assert [queries(model) for model in models] == before


@pytest.mark.parametrize(
    "query",
    [
        "chat/usage/?date__year=9999",
        "chat/usage/?date__year=9999&date__month=12&date__day=31",
        "chat/usage/?date__year=\uff19\uff19\uff19\uff19",
        "chat/usage/?date__year=99999999999999999999",
        "chat/usage/?date__year=2026&date__month=99999999999999999999",
        "chat/usage/?month=2026-13",
        "chat/usage/?month=%00",
        "chat/usage/?model=%00",
        "chat/thread/?model=%00",
        "chat/message/?sender__exact=%00",
        "chat/message/?status__exact=%00",
        "chat/message/?thread__id__exact=%00",
        "admin/logentry/?action_flag__exact=%00",
        "accounts/user/?is_active__exact=%00",
    ],
)
def test_a_lists_address_that_means_nothing_is_refused(root: Browser, query: str) -> None:
    error_of(root.get(f"/admin/{query}"), 400, "invalid")


@pytest.mark.parametrize("key", ["abc", "", "\0", "1\0", "99999999999999999999", "9" * 5000])
def test_an_impossible_key_is_refused(root: Browser, key: str) -> None:
    for kind in ("accounts/user", "chat/thread", "auth/group"):
        for action in ("delete_selected", "deactivate", "reactivate", "unknown"):
            form = {"action": action, "_selected_action": ["1", key]}
            error_of(root.post(f"/admin/{kind}/", data=form), 400, "invalid")


def test_nobody_guesses_a_sessions_key_by_the_address_of_a_list(
    operator: Browser, root: Browser
) -> None:
    for query in (
        "session__session_key__regex=^[a-z]",
        "session__session_key__startswith=a",
        "tokens__digest__startswith=a",
        "password__startswith=p",
        "groups__user__session__session_key__startswith=a",
    ):
        error_of(operator.get(f"{USERS}?{query}"), 400, "invalid")
        error_of(operator.get(f"/admin/chat/thread/?user__{query}"), 400, "invalid")


def test_the_filters_of_the_lists_work(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.say(ann.thread())
    thread, today = Thread.objects.get(), Usage.objects.get().date
    month = f"{today:%Y-%m}"
    month_before = f"{today.replace(day=1) - timedelta(days=1):%Y-%m}"
    found = {
        f"{USERS}?is_active__exact=1&is_staff__exact=0&is_superuser__exact=0": "1 user",
        f"/admin/chat/thread/?user__id__exact={ann.user.pk}&model=llama3.2": "1 thread",
        f"/admin/chat/message/?thread__id__exact={thread.pk}&sender__exact=bot"
        "&status__exact=complete": "1 message",
        f"/admin/chat/usage/?user__id__exact={ann.user.pk}&model=llama3.2": "1 usage",
        f"/admin/chat/usage/?month={month}": "1 usage",
        f"/admin/chat/usage/?month={month_before}": "0 usage",
    }
    for path, number in found.items():
        page = root.get(path)
        assert page.status_code == 200, path
        assert number in page.text, path

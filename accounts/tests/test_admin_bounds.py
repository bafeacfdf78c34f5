"""The admin's lists however long they are: what is counted, shown, sorted, found and acted on."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

import core.admin
from accounts.models import User
from chat.models import Message, Thread, Usage
from testing.admin import USERS, Browser, act, told
from testing.answers import error_of
from testing.people import Caller, create_session, create_user

MODELS = (User, Thread, Message, Usage, LogEntry, Group)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of at most three objects, in this process."""
    monkeypatch.setattr(core.admin, "MAX_LISTED", 3)


def page_of(root: Browser, model: Any, **query: str) -> str:
    """Return a list, made in this process."""
    request = RequestFactory().get("/", query)
    request.user = root.user  # type: ignore[assignment]
    response: Any = admin.site._registry[model].changelist_view(request)
    assert isinstance(response, HttpResponse)
    return str(response.render().text if hasattr(response, "render") else response.text)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_list_counts_a_whole_table(root: Browser, model: Any) -> None:
    with CaptureQueriesContext(connection) as captured:
        page_of(root, model)

    counts = [query["sql"] for query in captured if query["sql"].startswith("SELECT COUNT")]
    assert counts
    for sql in counts:
        assert f"LIMIT {core.admin.MAX_LISTED}" in sql


def test_a_list_shows_its_first_objects_and_says_that_there_may_be_more(
    root: Browser, ann: Caller, three: None
) -> None:
    threads = [ann.thread() for _ in range(5)]

    page = page_of(root, Thread)

    assert "3 or more threads" in page
    assert f"Thread {threads[-1].pk}" in page  # the newest


def test_a_list_that_is_not_too_long_says_how_many_there_are(root: Browser, ann: Caller) -> None:
    for _ in range(2):
        ann.thread()

    assert "2 threads" in page_of(root, Thread)


def test_an_action_on_more_than_the_list_shows_is_refused(root: Browser, ann: Caller) -> None:
    User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com", password="!")
        for number in range(core.admin.MAX_LISTED)
    )
    some = User.objects.first()
    assert some

    answer = act(root, "deactivate", some, select_across="1", reason="x")

    assert "Narrow the list first" in told(root, answer)
    assert not User.objects.filter(is_active=False).exists()


@pytest.mark.parametrize("model", [Thread, Message, Usage], ids=lambda model: model.__name__)
def test_what_users_made_is_in_one_order_alone(root: Browser, model: Any) -> None:
    assert "sortable" not in page_of(root, model)


def test_a_search_finds_by_the_whole_name_of_a_user(root: Browser, ann: Caller) -> None:
    ann.say(ann.thread())
    other = Caller(str(ann.base_url), create_user("annabel"))
    other.say(other.thread())

    for model, found in ((Thread, "1 thread"), (Message, "2 messages"), (Usage, "1 usage")):
        assert found in page_of(root, model, q="ANN")
        assert f"0 {model._meta.verbose_name_plural}" in page_of(root, model, q="anna")


def test_many_objects_that_are_to_be_deleted_are_named_up_to_a_hundred(
    root: Browser, ann: Caller
) -> None:
    users = User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com", password="!")
        for number in range(150)
    )

    page = act(root, "delete_selected", *users).text

    assert page.count("<li>user: ") == 100
    assert "and 50 more" in page
    assert "Users: 150" in page


def test_a_user_with_many_sessions_shows_the_newest(root: Browser, ann: Caller) -> None:
    assert ann.user
    for number in range(30):
        create_session(ann.user, user_agent=f"browser {number}")

    page = root.get(f"{USERS}{ann.user.pk}/change/").text

    assert page.count('<th scope="row" title="browser ') == 20
    assert "and 11 others" in page


def test_a_month_that_is_none_is_refused(root: Browser) -> None:
    for month in ("2026-13", "x", "", "1999-01"):
        error_of(root.get("/admin/chat/usage/", params={"month": month}), 400, "invalid")

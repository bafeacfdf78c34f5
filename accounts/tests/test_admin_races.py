"""Forms of the admin at the same moment as others, on PostgreSQL, where they overlap."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from accounts.models import User
from testing.admin import USERS, Browser, act, add, change, form_of, set_password
from testing.environment import ENVIRONMENT
from testing.fixtures.databases import default_database
from testing.people import PASSWORD, Caller, create_user
from testing.processes import Memcached, PostgreSQL, Server
from testing.races import at_once


@pytest.fixture(scope="module")
def server_on_postgresql(
    postgresql: PostgreSQL, memcached: Memcached, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on PostgreSQL."""
    environment = {
        **ENVIRONMENT,
        "DATABASE_URL": postgresql.url,
        "CACHE_LOCATION": memcached.location,
    }
    with Server(tmp_path_factory.mktemp("races"), environment) as server:
        yield server


@pytest.fixture
def root(postgresql: PostgreSQL, server_on_postgresql: Server) -> Iterator[Browser]:
    """A superuser in the admin; the test's own queries go to PostgreSQL, too."""
    with default_database(postgresql.url):
        user = create_user("root", is_staff=True, is_superuser=True)
        with Browser(server_on_postgresql.url, user) as root:
            yield root
        Group.objects.all().delete()
        User.all_objects.all().delete()


def while_deleting(
    user: User, call: Callable[[], httpx.Response], *, rows_go: bool
) -> httpx.Response:
    """Make a call that has read the user before a deletion, and goes on after it."""
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            User.objects.lock(user.pk)
            answer = thread.submit(call)
            time.sleep(1)  # it waits for the lock, or would
            if rows_go:
                User.all_objects.filter(pk=user.pk).delete()
            else:
                user.delete()
        return answer.result()


def form_for(root: Browser, username: str, email: str) -> dict[str, str]:
    passwords = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    form = form_of(root.get(f"{USERS}add/"))
    return {**form, "username": username, "email": email, **passwords}


def test_one_form_sent_twice_adds_one_user(root: Browser) -> None:
    form = form_for(root, "carl", "carl@example.com")

    for _ in range(5):
        shown, added = at_once(*[lambda: root.post(f"{USERS}add/", data=form)] * 2)
        assert (shown.status_code, added.status_code) == (200, 302)
        assert "This name is taken." in shown.text
        User.objects.get(username="carl").delete()


def test_one_address_goes_to_one_of_three_users(root: Browser) -> None:
    forms = [form_for(root, f"carl{number}", "carl@example.com") for number in range(3)]

    answers = at_once(*[lambda form=form: root.post(f"{USERS}add/", data=form) for form in forms])

    assert [answer.status_code for answer in answers] == [200, 200, 302]
    assert "This e-mail address is taken." in answers[0].text
    assert User.objects.filter(email="carl@example.com").count() == 1


def test_one_address_is_changed_to_by_one_of_three_users(root: Browser) -> None:
    users = [create_user(f"carl{number}") for number in range(3)]

    answers = at_once(
        *[lambda user=user: change(root, user, email="new@example.com") for user in users]
    )

    assert [answer.status_code for answer in answers] == [200, 200, 302]


def test_a_group_sent_twice_is_added_once(root: Browser) -> None:
    form = {"name": "helpers"}

    for _ in range(5):
        shown, added = at_once(*[lambda: root.post("/admin/auth/group/add/", data=form)] * 2)
        assert (shown.status_code, added.status_code) == (200, 302)
        assert "already exists" in shown.text
        Group.objects.all().delete()


@pytest.mark.parametrize("rows_go", [False, True], ids=["hidden", "gone"])
def test_a_user_who_is_saved_while_they_delete_themselves_stays_deleted(
    root: Browser, rows_go: bool
) -> None:
    carl = create_user("carl")
    path = f"{USERS}{carl.pk}/change/"
    form = {**form_of(root.get(path)), "username": "carla", "email": "carla@example.com"}

    answer = while_deleting(carl, lambda: root.post(path, data=form), rows_go=rows_go)

    assert answer.status_code == 302  # "user with ID … doesn't exist"
    assert not User.all_objects.filter(username="carla").exists()
    assert add(root, "carla", PASSWORD).status_code == 302  # the name is free


@pytest.mark.parametrize("rows_go", [False, True], ids=["hidden", "gone"])
def test_a_password_that_is_set_while_the_user_deletes_themselves_is_set_for_nobody(
    root: Browser, rows_go: bool
) -> None:
    carl = create_user("carl")

    answer = while_deleting(carl, lambda: set_password(root, carl), rows_go=rows_go)

    assert answer.status_code == 404
    assert not User.objects.filter(pk=carl.pk).exists()


def test_of_the_users_who_are_deactivated_one_may_delete_themselves(root: Browser) -> None:
    carl, dora = create_user("carl"), create_user("dora")

    answer = while_deleting(
        carl, lambda: act(root, "deactivate", carl, dora, reason="spam"), rows_go=False
    )

    assert answer.status_code == 302
    assert not User.objects.get(pk=dora.pk).is_active


def test_a_thread_is_renamed_or_gone(root: Browser) -> None:
    for number in range(8):
        ann = Caller(str(root.base_url), create_user(f"ann{number}"))
        thread = ann.thread()
        path = f"/chat/threads/{thread.pk}"
        deleted, renamed = (
            lambda: ann.delete(f"{path}/delete/"),  # noqa: B023
            lambda: ann.patch(f"{path}/update-title/", json={"title": "x"}),  # noqa: B023
        )

        answers = at_once(deleted, renamed)

        assert {answer.status_code for answer in answers} <= {200, 404}
        assert answers[0].status_code == 200


@pytest.mark.parametrize("kind", ["accounts/user", "chat/thread", "chat/message", "chat/usage"])
@pytest.mark.parametrize("query", ["word " * 2_000, "x" * 60_000], ids=["words", "long"])
def test_a_search_of_too_much_finds_nothing_and_says_why(
    root: Browser, kind: str, query: str
) -> None:
    answer = root.get(f"/admin/{kind}/", params={"q": query})

    assert answer.status_code == 200
    assert "Search for at most 10 words and 200 characters." in answer.text

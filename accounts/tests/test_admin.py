"""The admin: how an operator finds users, sees what they have, and ends what they do."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import Session, Token, User
from chat.models import Message, Thread, Usage
from testing.admin import Browser
from testing.answers import cookie_of, error_of
from testing.audit import Audit
from testing.people import PASSWORD, Caller, create_user, is_logged_in, log_in, token_of
from testing.processes import Server, StartServer
from testing.races import meanwhile
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, sending

USERS = "/admin/accounts/user/"
NEW = "an0ther-horse"


@pytest.fixture
def root(server: Server) -> Iterator[Browser]:
    """A superuser in the admin."""
    user = create_user("root", is_staff=True, is_superuser=True)
    with Browser(server.url, user) as root:
        yield root


@pytest.fixture
def operator(server: Server) -> Iterator[Browser]:
    """Somebody of the staff who may do everything with users and see threads, and is no more."""
    user = create_user("operator", is_staff=True)
    names = ("add_user", "change_user", "delete_user", "view_user", "view_token", "view_thread")
    user.user_permissions.set(Permission.objects.filter(codename__in=(*names, "change_group")))
    with Browser(server.url, user) as operator:
        yield operator


def form_of(page: httpx.Response) -> dict[str, Any]:
    """Return what a page's form would send: the fields that have a value."""
    assert page.status_code == 200, page.text
    form: dict[str, Any] = {}
    for tag in re.findall(r"<(?:input|textarea)[^>]*>", page.text):
        fields = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        is_off = fields.get("type") in ("checkbox", "radio") and " checked" not in tag
        if "name" in fields and not is_off and fields.get("type") != "submit":
            form[fields["name"]] = fields.get("value", "on" if " checked" in tag else "")
    form.pop("csrfmiddlewaretoken", None)
    return form


def change(browser: Browser, user: User, **fields: Any) -> httpx.Response:
    """Open a user's form, change some fields of it, and send it; None leaves one out."""
    path = f"{USERS}{user.pk}/change/"
    form = {**form_of(browser.get(path)), **fields}
    return browser.post(path, data={k: v for k, v in form.items() if v is not None})


def act(browser: Browser, action: str, *users: User, **fields: str) -> httpx.Response:
    """Choose users in the list, and an action on them."""
    chosen = [str(user.pk) for user in users]
    return browser.post(USERS, data={"action": action, "_selected_action": chosen, **fields})


def told(browser: Browser, answer: httpx.Response) -> str:
    """Return the page after an action, which tells what was done."""
    cookies = f"{browser.headers['Cookie']}; messages={cookie_of(answer, 'messages').value}"
    return browser.get(USERS, headers={"Cookie": cookies}).text


def set_password(browser: Browser, user: User, new: str = NEW) -> httpx.Response:
    """Give a user another password."""
    form = {"password1": new, "password2": new, "usable_password": "true"}
    return browser.post(f"{USERS}{user.pk}/password/", data=form)


def change_own_password(browser: Browser, old: str = PASSWORD, new: str = NEW) -> httpx.Response:
    """Take another password."""
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post("/admin/password_change/", data=form)


def add(browser: Browser, name: str, password: str) -> httpx.Response:
    """Add a user."""
    fields = {"username": name, "email": f"{name}@example.com", "usable_password": "true"}
    passwords = {"password1": password, "password2": password}
    form = form_of(browser.get(f"{USERS}add/"))
    return browser.post(f"{USERS}add/", data={**form, **fields, **passwords})


# --- What is seen -------------------------------------------------------------------------------


def test_it_finds_a_user_by_name_or_address(root: Browser, ann: Caller, bob: Caller) -> None:
    ann.thread()
    ann.thread()

    for query in ("ANN", "ann@example"):
        page = root.get(USERS, params={"q": query}).text
        assert "ann@example.com" in page
        assert "bob@example.com" not in page
        assert re.search(r'field-number_of_threads">2<', page)


def test_it_shows_a_users_sessions_and_tokens_without_their_keys(
    root: Browser, ann: Caller
) -> None:
    assert ann.user
    Caller(str(ann.base_url), ann.user, user_agent="<b>Telephone</b>")
    token, secret = Token.objects.issue(ann.user, "my script", 1)
    keys = [session.session_key for session in ann.user.session_set.all()]

    pages = [root.get(f"{USERS}{ann.user.pk}/{page}/").text for page in ("change", "delete")]

    assert "&lt;b&gt;Telephone&lt;/b&gt;" in pages[0]
    assert "my script" in pages[0]
    assert token.prefix in pages[0]
    assert f"/admin/chat/thread/?user__id__exact={ann.user.pk}" in pages[0]
    assert f"/admin/chat/usage/?user__id__exact={ann.user.pk}" in pages[0]
    for page in pages:
        assert not [key for key in (*keys, secret, token.digest) if key in page]


def test_its_lists_ask_the_same_whatever_their_length(root: Browser, ann: Caller) -> None:
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


def test_text_is_for_those_who_may_view_messages(
    root: Browser, operator: Browser, ann: Caller
) -> None:
    thread = ann.thread()
    ann.say(thread, "a secret of mine")
    Thread.objects.update(system_prompt="You know a secret.", options={"stop": ["secret stop"]})
    pages = [
        "/admin/chat/thread/",
        f"/admin/chat/thread/{thread.pk}/change/",
        "/admin/chat/message/",
        f"/admin/chat/message/{thread.messages.first().pk}/change/",  # type: ignore[union-attr]
        f"{USERS}{ann.user.pk}/delete/",  # type: ignore[union-attr]
        "/admin/",
    ]

    as_operator = [operator.get(page) for page in pages]
    as_root = [root.get(page) for page in pages]

    assert [answer.status_code for answer in as_operator] == [200, 200, 403, 403, 200, 200]
    assert not [answer for answer in as_operator if "secret" in answer.text]
    assert "a secret of mine" in as_root[1].text  # its title
    assert "secret stop" in as_root[1].text
    assert "a secret of mine" in as_root[2].text
    assert "You said: a secret of mine" in as_root[2].text
    assert re.search(r'field-number_of_messages">2<', as_operator[0].text)


@pytest.mark.parametrize(
    "query", ["title__startswith=a", "system_prompt__isnull=1", "messages__content__contains=a"]
)
def test_nobody_guesses_what_is_written_by_the_address_of_a_list(
    operator: Browser, ann: Caller, query: str
) -> None:
    ann.thread(title="a secret of mine")

    error_of(operator.get(f"/admin/chat/thread/?{query}"), 400, "invalid")


@pytest.mark.parametrize("kind", ["thread", "message", "usage"])
def test_nobody_guesses_addresses_by_the_search_of_what_people_made(
    root: Browser, ann: Caller, kind: str
) -> None:
    ann.say(ann.thread())

    def found(query: str) -> bool:
        page = root.get(f"/admin/chat/{kind}/", params={"q": query})
        assert page.status_code == 200
        return 'class="action-checkbox"' in page.text or "field-user" in page.text

    assert found("ann")
    assert not found("ann@example")


@pytest.mark.parametrize(
    "query",
    [
        "chat/usage/?date__year=9999",
        "chat/usage/?date__year=9999&date__month=12&date__day=31",
        "chat/usage/?date__year=\uff19\uff19\uff19\uff19",
        "chat/usage/?date__year=99999999999999999999",
        "chat/usage/?date__year=2026&date__month=99999999999999999999",
        "chat/usage/?model=%00",
        "chat/thread/?model=%00",
        "chat/message/?sender__exact=%00",
        "chat/message/?status__exact=%00",
        "chat/message/?thread__id__exact=%00",
        "admin/logentry/?action_flag__exact=%00",
        "accounts/user/?is_active__exact=%00",
    ],
)
def test_an_address_of_a_list_that_means_nothing_is_refused(root: Browser, query: str) -> None:
    error_of(root.get(f"/admin/{query}"), 400, "invalid")


@pytest.mark.parametrize("key", ["abc", "", "\0", "1\0", "99999999999999999999", "9" * 5000])
def test_a_key_that_nothing_can_have_is_refused(root: Browser, key: str) -> None:
    for kind in ("accounts/user", "chat/thread", "auth/group"):
        for action in ("delete_selected", "deactivate", "reactivate", "unknown"):
            form = {"action": action, "_selected_action": ["1", key]}
            error_of(root.post(f"/admin/{kind}/", data=form), 400, "invalid")


def test_nothing_that_people_made_is_changed_there(root: Browser, ann: Caller) -> None:
    thread = ann.thread(title="Mine")

    answer = root.post(f"/admin/chat/thread/{thread.pk}/change/", data={"title": "Yours"})

    error_of(answer, 403, "forbidden")
    thread.refresh_from_db()
    assert thread.title == "Mine"


# --- What is done -------------------------------------------------------------------------------


def test_it_deactivates_several_with_a_reason(
    root: Browser, server: Server, ann: Caller, bob: Caller
) -> None:
    assert ann.user
    assert bob.user
    token_of(ann)
    question = act(root, "deactivate", ann.user, bob.user)
    assert "Reason" in question.text
    assert User.objects.filter(is_active=True).count() == 3
    root.headers.update((audit := Audit(server)).headers)

    form = form_of(question)
    answer = act(root, form.pop("action"), ann.user, bob.user, reason="They sell <b>lamps</b>")

    assert answer.status_code == 302
    assert User.objects.get(is_active=True) == root.user
    assert not is_logged_in(ann)
    assert Session.objects.get().user == root.user
    assert not Token.objects.exists()
    entries = LogEntry.objects.filter(user=root.user)
    assert {entry.object_id for entry in entries} == {str(ann.user.pk), str(bob.user.pk)}
    assert {e.change_message for e in entries} == {"Deactivated: They sell <b>lamps</b>"}
    lines = [line for line in audit.lines() if line["event"] == "deactivation"]
    assert {line["reason"] for line in lines} == {"They sell <b>lamps</b>"}
    assert {(line["user"], line["by"]) for line in lines} == {
        (ann.user.pk, root.user.pk),
        (bob.user.pk, root.user.pk),
    }


def test_it_reactivates(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.user.deactivate()

    act(root, "reactivate", ann.user)

    assert User.objects.get(pk=ann.user.pk).is_active
    assert not is_logged_in(ann)  # old sessions stay ended
    assert LogEntry.objects.get().get_change_message() == "Reactivated."


def test_who_is_active_is_left_alone_by_a_reactivation(
    root: Browser, server: Server, ann: Caller, bob: Caller
) -> None:
    assert ann.user
    assert bob.user
    token_of(ann)
    bob.user.deactivate()
    root.headers.update((audit := Audit(server)).headers)

    answer = act(root, "reactivate", ann.user, bob.user)

    assert is_logged_in(ann)
    assert ann.user.tokens.exists()
    assert LogEntry.objects.get().object_id == str(bob.user.pk)
    assert audit.event("reactivation")["user"] == bob.user.pk
    page = told(root, answer)
    assert "Done for 1 of 2 users." in page
    assert "Who is active was left alone" in page


def test_more_than_a_thousand_are_deactivated_and_deleted(root: Browser) -> None:
    users = User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com", password="!")
        for number in range(1_100)
    )

    question = act(root, "deactivate", *users)
    deactivated = act(root, "deactivate", *users, reason="They are all one")
    assert User.objects.get(is_active=True) == root.user
    deleted = act(root, "delete_selected", *users, post="yes")

    assert "user1099" in question.text
    assert (deactivated.status_code, deleted.status_code) == (302, 302)
    assert User.objects.get() == root.user


def test_without_a_reason_it_asks_again(root: Browser, ann: Caller) -> None:
    assert ann.user

    answer = act(root, "deactivate", ann.user, reason=" ")

    assert "This field is required" in answer.text
    assert is_logged_in(ann)


def test_the_form_deactivates_nobody_since_it_asks_for_no_reason(
    root: Browser, ann: Caller
) -> None:
    assert ann.user
    ann.user.deactivate()
    bob = create_user("bob")

    change(root, ann.user, is_active="on")
    change(root, bob, is_active=None)

    assert not User.objects.get(pk=ann.user.pk).is_active
    assert User.objects.get(pk=bob.pk).is_active


def test_it_changes_the_address_and_the_daily_tokens(
    root: Browser, server: Server, ann: Caller
) -> None:
    assert ann.user
    root.headers.update((audit := Audit(server)).headers)

    taken = change(root, ann.user, email="ROOT@example.com")
    answer = change(root, ann.user, email="new@example.com", daily_tokens="5000")

    assert "This e-mail address is taken." in taken.text
    assert answer.status_code == 302
    ann.user.refresh_from_db()
    assert (ann.user.email, ann.user.daily_tokens) == ("new@example.com", 5000)
    assert audit.event("email_changed")["user"] == ann.user.pk
    assert is_logged_in(ann)


def test_it_sets_a_password_which_ends_the_users_sessions(
    root: Browser, server: Server, ann: Caller
) -> None:
    assert ann.user
    root.headers.update((audit := Audit(server)).headers)

    answer = set_password(root, ann.user)

    assert answer.status_code == 302
    assert not ann.user.session_set.exists()
    assert not is_logged_in(ann)
    assert audit.event("password_changed")["user"] == ann.user.pk


def test_a_superuser_who_sets_their_own_password_stays_logged_in_here_alone(
    root: Browser, server: Server
) -> None:
    assert root.user
    Caller(server.url, root.user)

    answer = set_password(root, root.user)

    assert Session.objects.get().session_key == cookie_of(answer).value
    root.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    assert root.get(USERS).status_code == 200


def test_a_password_that_is_set_undoes_nothing_that_happens_meanwhile(
    root: Browser, ann: Caller
) -> None:
    assert ann.user

    meanwhile(lambda: set_password(root, ann.user), ann.user.deactivate)  # type: ignore[arg-type]

    after = User.objects.get(pk=ann.user.pk)
    assert not after.is_active
    assert after.check_password(NEW)


def test_a_form_undoes_nothing_that_happens_meanwhile(root: Browser, ann: Caller) -> None:
    assert ann.user
    user_admin: Any = admin.site._registry[User]
    request = RequestFactory().post("/")
    request.user = root.user  # type: ignore[assignment]
    read = User.objects.get(pk=ann.user.pk)
    fields = {"username": "ann", "email": "ann@example.com", "daily_tokens": "5"}
    form = user_admin.get_form(request, read)(fields, instance=read)
    assert form.is_valid()

    ann.user.deactivate()
    user_admin.save_model(request, form.save(commit=False), form, change=True)

    after = User.objects.get(pk=ann.user.pk)
    assert (after.is_active, after.daily_tokens) == (False, 5)


def test_no_password_is_longer_than_the_login_takes(root: Browser, ann: Caller) -> None:
    assert ann.user
    elsewhere = Browser(str(root.base_url), root.user)  # each change gives its session a new key
    longest = "an0ther-" * 16

    refused = [
        add(root, "carl", f"{longest}x"),
        set_password(root, ann.user, f"{longest}x"),
        change_own_password(elsewhere, new=f"{longest}x"),
    ]
    taken = [
        add(root, "carl", longest),
        set_password(root, ann.user, longest),
        change_own_password(elsewhere, new=longest),
    ]

    for answer in refused:
        assert answer.status_code == 200
        assert "This password is too long" in answer.text
    assert [answer.status_code for answer in taken] == [302, 302, 302]
    for name in ("carl", "ann", "root"):
        log_in(str(root.base_url), name, longest)


def test_it_adds_a_user(root: Browser) -> None:
    answer = add(root, "Carl", PASSWORD)

    assert answer.status_code == 302
    carl = User.objects.get(username="Carl")
    assert (carl.email, carl.is_staff) == ("Carl@example.com", False)


def test_a_user_whose_name_is_taken_is_not_added(root: Browser, ann: Caller) -> None:
    passwords = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    for name in ("ANN", "", "a b"):
        answer = root.post(
            f"{USERS}add/", data={"username": name, "email": "x@example.com", **passwords}
        )
        assert answer.status_code == 200
        assert "errorlist" in answer.text
    assert User.objects.count() == 2


def test_more_rights_are_in_the_audit_log(root: Browser, server: Server, ann: Caller) -> None:
    assert ann.user
    root.headers.update((audit := Audit(server)).headers)

    change(root, ann.user, is_staff="on")

    line = audit.event("rights_changed")
    assert (line["user"], line["rights"]) == (ann.user.pk, "is_staff")


def test_it_deletes_users_with_all_they_have(root: Browser, ann: Caller, bob: Caller) -> None:
    assert ann.user
    assert bob.user
    ann.say(ann.thread())

    one = root.post(f"{USERS}{ann.user.pk}/delete/", data={"post": "yes"})
    other = act(root, "delete_selected", bob.user, post="yes")

    assert (one.status_code, other.status_code) == (302, 302)
    assert User.objects.get() == root.user
    assert not Thread.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_long_thread_goes_alone_or_with_its_user_but_not_by_the_message(
    root: Browser, ann: Caller
) -> None:
    def long_thread() -> Thread:
        thread, parent = ann.thread(), None
        for _ in range(1_100):  # deeper than Python's stack
            parent = Message.objects.create(thread=thread, sender="user", parent=parent)
        return thread

    threads = [long_thread(), long_thread()]
    message = f"/admin/chat/message/{threads[0].messages.earliest('pk').pk}"
    paths = [f"/admin/chat/thread/{threads[0].pk}", f"{USERS}{ann.user.pk}"]  # type: ignore[union-attr]

    assert f"{message}/delete/" not in root.get(f"{message}/change/").text
    assert "delete_selected" not in root.get("/admin/chat/message/").text
    error_of(root.post(f"{message}/delete/", data={"post": "yes"}), 403, "forbidden")
    for path in paths:
        assert "Messages: 1100" in root.get(f"{path}/delete/").text
        assert root.post(f"{path}/delete/", data={"post": "yes"}).status_code == 302
    assert not Message.objects.exists()
    assert User.objects.get() == root.user


def test_whoever_deletes_a_user_must_be_allowed_to_delete_all_they_have(
    operator: Browser, ann: Caller
) -> None:
    ann.thread()
    path = f"{USERS}{ann.user.pk}/delete/"  # type: ignore[union-attr]

    page = operator.get(path).text
    error_of(operator.post(path, data={"post": "yes"}), 403, "forbidden")

    assert "Cannot delete user" in page
    assert Thread.objects.exists()


# --- Who may do what ----------------------------------------------------------------------------


def test_staff_raises_nobodys_rights(operator: Browser, ann: Caller) -> None:
    group = Group.objects.create(name="everything")
    rights = {
        "is_staff": "on",
        "is_superuser": "on",
        "groups": str(group.pk),
        "user_permissions": "1",
    }
    assert ann.user
    assert operator.user

    answer = change(operator, ann.user, **rights)
    error_of(operator.post(f"{USERS}{operator.user.pk}/change/", data=rights), 403, "forbidden")

    assert answer.status_code == 302
    for user, permissions in ((ann.user, 0), (operator.user, 7)):
        user.refresh_from_db()
        assert user.is_active
        assert not user.is_superuser
        assert user.is_staff == (user == operator.user)
        assert not user.groups.exists()
        assert user.user_permissions.count() == permissions
    added = operator.post(
        f"/admin/auth/group/{group.pk}/change/", data={"name": "x", "permissions": "1"}
    )
    error_of(added, 403, "forbidden")
    group.delete()


def test_staff_cannot_log_in_as_somebody_else(operator: Browser, ann: Caller) -> None:
    """With a user's password, or a reset to another address, one reads what they wrote."""
    assert ann.user
    path = f"{USERS}{ann.user.pk}/"
    new = {"password1": "an0ther-horse", "password2": "an0ther-horse", "usable_password": "true"}

    page = operator.get(f"{path}change/").text
    change(operator, ann.user, username="mine", email="mine@example.com", daily_tokens="5")
    error_of(operator.post(f"{path}password/", data=new), 403, "forbidden")

    after = User.objects.get(pk=ann.user.pk)
    assert (after.username, after.email, after.daily_tokens) == ("ann", "ann@example.com", 5)
    assert after.password == ann.user.password
    assert "argon2" not in page
    assert ann.user.password[-20:] not in page


def test_nobody_guesses_the_key_of_a_session_by_the_address_of_a_list(
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


def test_the_filters_of_its_lists_work(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.say(ann.thread())
    thread = Thread.objects.get()
    found = {
        f"{USERS}?is_active__exact=1&is_staff__exact=0&is_superuser__exact=0": "1 user",
        f"/admin/chat/thread/?user__id__exact={ann.user.pk}&model=llama3.2": "1 thread",
        f"/admin/chat/message/?thread__id__exact={thread.pk}&sender__exact=bot"
        "&status__exact=complete": "1 message",
        f"/admin/chat/usage/?user__id__exact={ann.user.pk}&model=llama3.2": "1 usage",
        f"/admin/chat/usage/?date__year={Usage.objects.get().date.year}": "1 usage",
        "/admin/chat/usage/?date__year=9998&date__month=12&date__day=31": "0 usage",
    }
    for path, number in found.items():
        page = root.get(path)
        assert page.status_code == 200, path
        assert number in page.text, path


def test_it_shows_what_all_operators_did(root: Browser, ann: Caller) -> None:
    assert ann.user
    act(root, "deactivate", ann.user, reason="They sell lamps")

    page = root.get("/admin/admin/logentry/")

    assert "They sell lamps" in page.text
    error_of(root.get("/admin/admin/logentry/add/"), 403, "forbidden")
    entry = LogEntry.objects.get()
    error_of(
        root.post(f"/admin/admin/logentry/{entry.pk}/delete/", data={"post": "yes"}),
        403,
        "forbidden",
    )


def test_staff_touches_nobody_of_the_staff(operator: Browser, root: Browser, staff: Caller) -> None:
    for user in (root.user, staff.user):
        assert user
        path = f"{USERS}{user.pk}/"
        fields = {"username": "mine", "email": "mine@example.com"}
        new = {"password1": "an0ther-horse", "password2": "an0ther-horse"}

        error_of(operator.post(f"{path}change/", data=fields), 403, "forbidden")
        error_of(operator.post(f"{path}password/", data=new), 403, "forbidden")
        error_of(operator.post(f"{path}delete/", data={"post": "yes"}), 403, "forbidden")
        act(operator, "delete_selected", user, post="yes")

        after = User.objects.get(pk=user.pk)
        assert (after.username, after.password) == (user.username, user.password)


def test_staff_reactivates_nobody_of_the_staff(
    operator: Browser, root: Browser, staff: Caller, ann: Caller
) -> None:
    assert staff.user
    assert ann.user
    staff.user.deactivate()
    ann.user.deactivate()

    answer = act(operator, "reactivate", staff.user, ann.user)

    assert not User.objects.get(pk=staff.user.pk).is_active
    assert User.objects.get(pk=ann.user.pk).is_active
    assert "only a superuser reactivates staff" in told(operator, answer)
    act(root, "reactivate", staff.user)
    assert User.objects.get(pk=staff.user.pk).is_active


def test_nobody_deactivates_themselves_there(operator: Browser, root: Browser) -> None:
    assert root.user
    assert operator.user

    act(operator, "deactivate", root.user, operator.user, reason="to be alone")
    act(root, "deactivate", root.user, reason="to be alone")

    assert User.objects.filter(is_active=True).count() == 2
    assert not LogEntry.objects.filter(change_message__contains="alone").exists()


def test_it_is_closed_to_everybody_else(ann: Caller, nobody: Caller) -> None:
    for caller in (ann, nobody):
        answer = caller.get(USERS)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


# --- Its login ----------------------------------------------------------------------------------


def test_its_login_is_the_apis_with_all_its_notes(server: Server, staff: Caller) -> None:
    browser, audit = Browser(server.url), Audit(server)
    form = {"username": "STAFF@example.com", "password": PASSWORD}

    answer = browser.post("/admin/login/?next=/admin/", data=form, headers=audit.headers)

    assert answer.status_code == 302
    assert cookie_of(answer)["httponly"]
    assert audit.event("login")["user"] == staff.user.pk  # type: ignore[union-attr]
    sessions = staff.get("/auth/sessions/").json()["sessions"]
    assert [session["ip_address"] for session in sessions] == ["127.0.0.1", None]


def test_its_login_shares_the_limits_of_the_apis(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN="3/h", RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    create_user("staff", is_staff=True)
    browser = Browser(server.url)
    browser.headers["X-Forwarded-For"] = f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}::7"
    browser.post("/auth/login/", json={"username": "staff@example.com", "password": "wrong"})

    def log_in(name: str) -> httpx.Response:
        return browser.post("/admin/login/", data={"username": name, "password": PASSWORD})

    error_of(log_in("staff"), 429, "rate_limited")  # the account's
    assert "Please enter the correct username" in log_in(f"nobody-{uuid4()}").text
    error_of(log_in(f"nobody-{uuid4()}"), 429, "rate_limited")  # the address's


def test_its_forms_want_their_token(root: Browser, ann: Caller) -> None:
    root.headers["X-CSRFToken"] = "g" * 32

    answer = act(root, "deactivate", ann.user, reason="none")  # type: ignore[arg-type]

    error_of(answer, 403, "forbidden")
    assert is_logged_in(ann)


# --- One's own password -------------------------------------------------------------------------


def test_ones_own_password_is_changed_as_by_the_api(server: Server, operator: Browser) -> None:
    assert operator.user
    Caller(server.url, operator.user)
    assert "Log out" in operator.get("/admin/password_change/").text
    operator.headers.update((audit := Audit(server)).headers)

    answer = change_own_password(operator)

    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin/password_change/done/"
    assert audit.event("password_changed")["user"] == operator.user.pk
    assert Session.objects.get().session_key == cookie_of(answer).value
    operator.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    assert operator.get("/admin/password_change/done/").status_code == 200
    assert log_in(server.url, "operator", NEW)


def test_ones_own_password_is_refused_in_the_form(server: Server, operator: Browser) -> None:
    assert operator.user
    operator.headers.update((audit := Audit(server)).headers)

    wrong = change_own_password(operator, old="wrong")
    weak = change_own_password(operator, new="sh0rt!")

    assert wrong.status_code == weak.status_code == 200
    assert "The password is wrong." in wrong.text
    assert "This password is too short." in weak.text
    assert audit.event("password_refused")["user"] == operator.user.pk
    assert User.objects.get().password == operator.user.password


def test_ones_own_password_is_not_guessed_there(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    operator = Browser(server.url, create_user("operator", is_staff=True))

    assert "The password is wrong." in change_own_password(operator, old="wrong").text
    error_of(change_own_password(operator), 429, "rate_limited")


def test_who_is_deactivated_while_they_change_their_password_stays_out(operator: Browser) -> None:
    assert operator.user

    answer = meanwhile(lambda: change_own_password(operator), operator.user.deactivate)

    assert "The password is wrong." in answer.text
    after = User.objects.get()
    assert not after.is_active
    assert after.check_password(PASSWORD)
    assert not Session.objects.exists()


def test_who_is_deleted_in_a_list_has_their_reply_ended(
    root: Browser, ann: Caller, ollama: ScriptedOllama
) -> None:
    assert ann.user
    ollama.script = Script(["one ", "two "], hold_after=1)
    with sending(ann, ann.thread(), **SSE) as reading:
        reading.until("one")

        act(root, "delete_selected", ann.user, post="yes")

        reading.to_the_end()
    assert not User.objects.filter(username="ann").exists()
    assert not Thread.objects.exists()

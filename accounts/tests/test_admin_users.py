"""The admin's users: found, seen, added, changed and deleted."""

import re
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import RequestFactory

from accounts.models import Token, User
from chat.models import Thread
from testing.admin import (
    USERS,
    Browser,
    act,
    add,
    change,
)
from testing.answers import error_of
from testing.audit import Audit
from testing.people import PASSWORD, Caller, is_logged_in
from testing.processes import Server
from testing.waiting import wait_until


def test_a_user_is_found_by_name_or_address(root: Browser, ann: Caller, bob: Caller) -> None:
    ann.thread()
    ann.thread()

    for query in ("ANN", "ann@example"):
        page = root.get(USERS, params={"q": query}).text
        assert "ann@example.com" in page
        assert "bob@example.com" not in page
        assert re.search(r'field-number_of_threads">2<', page)


def test_a_users_sessions_and_tokens_are_shown_without_their_keys(
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


def test_a_users_address_and_daily_tokens_are_changed(
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


def test_a_user_is_added(root: Browser) -> None:
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


def test_users_are_deleted_with_all_they_have(root: Browser, ann: Caller, bob: Caller) -> None:
    assert ann.user
    assert bob.user
    ann.say(ann.thread())

    one = root.post(f"{USERS}{ann.user.pk}/delete/", data={"post": "yes"})
    other = act(root, "delete_selected", bob.user, post="yes")

    assert (one.status_code, other.status_code) == (302, 302)
    assert User.objects.get() == root.user
    wait_until(lambda: not Thread.all_objects.exists())
    assert LogEntry.objects.count() == 2


def test_the_log_shows_what_all_operators_did(root: Browser, ann: Caller) -> None:
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

"""Passwords in the admin: one's own, and those that a superuser sets."""

from accounts.models import Session, User
from testing.admin import NEW_PASSWORD, USERS, Browser, add, change_own_password, set_password
from testing.answers import cookie_of, error_of
from testing.audit import Audit
from testing.people import PASSWORD, Caller, create_user, is_logged_in, log_in
from testing.processes import Server, StartServer
from testing.races import meanwhile


def test_setting_a_password_ends_the_users_sessions(
    root: Browser, server: Server, ann: Caller
) -> None:
    assert ann.user
    root.headers.update((audit := Audit(server)).headers)

    answer = set_password(root, ann.user)

    assert answer.status_code == 302
    assert not ann.user.session_set.exists()
    assert not is_logged_in(ann)
    assert audit.event("password_changed")["user"] == ann.user.pk


def test_a_superuser_who_sets_their_own_password_keeps_only_this_session(
    root: Browser, server: Server
) -> None:
    assert root.user
    Caller(server.url, root.user)

    answer = set_password(root, root.user)

    assert Session.objects.get().session_key == cookie_of(answer).value
    root.headers["Cookie"] = f"sessionid={cookie_of(answer).value}"
    assert root.get(USERS).status_code == 200


def test_setting_a_password_undoes_nothing_that_happens_meanwhile(
    root: Browser, ann: Caller
) -> None:
    assert ann.user

    meanwhile(lambda: set_password(root, ann.user), ann.user.deactivate)  # type: ignore[arg-type]

    after = User.objects.get(pk=ann.user.pk)
    assert not after.is_active
    assert after.check_password(NEW_PASSWORD)


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


def test_changing_ones_own_password_does_what_the_api_does(
    server: Server, operator: Browser
) -> None:
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
    assert log_in(server.url, "operator", NEW_PASSWORD)


def test_a_wrong_or_a_weak_password_is_refused_in_the_form(
    server: Server, operator: Browser
) -> None:
    assert operator.user
    operator.headers.update((audit := Audit(server)).headers)

    wrong = change_own_password(operator, old="wrong")
    weak = change_own_password(operator, new="sh0rt!")

    assert wrong.status_code == weak.status_code == 200
    assert "The password is wrong." in wrong.text
    assert "This password is too short." in weak.text
    assert audit.event("password_refused")["user"] == operator.user.pk
    assert User.objects.get().password == operator.user.password


def test_ones_own_password_cannot_be_guessed(start_server: StartServer) -> None:
    server = start_server(RATE_LIMIT_LOGIN_ACCOUNT="1/h")
    operator = Browser(server.url, create_user("operator", is_staff=True))

    assert "The password is wrong." in change_own_password(operator, old="wrong").text
    error_of(change_own_password(operator), 429, "rate_limited")


def test_a_user_deactivated_while_changing_their_password_stays_out(operator: Browser) -> None:
    assert operator.user

    answer = meanwhile(lambda: change_own_password(operator), operator.user.deactivate)

    assert "The password is wrong." in answer.text
    after = User.objects.get()
    assert not after.is_active
    assert after.check_password(PASSWORD)
    assert not Session.objects.exists()

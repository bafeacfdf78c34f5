"""A user's sessions in the admin, which operators end one by one."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from accounts.models import Session, User
from accounts.sessions import id_of
from testing.admin import USERS, Browser
from testing.people import Caller, create_session, create_user, is_logged_in

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"


def session_on_firefox(user: User, minutes: int = 5) -> Session:
    """Log a user in with Firefox, last seen so many minutes ago."""
    seen = timezone.now() - timedelta(minutes=minutes, seconds=10)
    key = create_session(user, user_agent=FIREFOX, last_seen_at=seen.isoformat())
    return Session.objects.get(pk=key)


def path_to_end(user: User, session: Session) -> str:
    return f"{USERS}{user.pk}/sessions/{id_of(session)}/end/"


def test_a_session_is_described_in_words(root: Browser, ann: Caller) -> None:
    assert ann.user
    session = session_on_firefox(ann.user)

    page = root.get(f"{USERS}{ann.user.pk}/change/").text

    assert "Firefox on Linux" in page
    assert "seen 5 minutes ago" in page
    assert path_to_end(ann.user, session) in page
    assert session.session_key not in page


def test_an_operator_ends_one_session_and_no_other(operator: Browser, ann: Caller) -> None:
    assert ann.user
    session = session_on_firefox(ann.user)

    answer = operator.post(path_to_end(ann.user, session))

    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"{USERS}{ann.user.pk}/change/",
    )
    assert not Session.objects.filter(pk=session.pk).exists()
    assert is_logged_in(ann)
    entry = LogEntry.objects.get(object_id=str(ann.user.pk))
    assert entry.get_change_message() == "Ended a session: Firefox on Linux."


def test_one_that_has_ended_meanwhile_is_no_error(operator: Browser, ann: Caller) -> None:
    assert ann.user
    session = session_on_firefox(ann.user)
    session.delete()

    assert operator.post(path_to_end(ann.user, session)).status_code == 302
    assert not LogEntry.objects.exists()


def test_a_session_of_somebody_else_is_not_ended(operator: Browser, ann: Caller) -> None:
    assert ann.user
    bob = create_user("bob")
    session = session_on_firefox(bob)

    operator.post(path_to_end(ann.user, session))

    assert Session.objects.filter(pk=session.pk).exists()


@pytest.mark.parametrize("whose", ["an operator's", "a superuser's"])
def test_staff_do_not_end_sessions_of_their_equals(operator: Browser, whose: str) -> None:
    other = create_user("other", is_staff=True, is_superuser=whose == "a superuser's")
    session = session_on_firefox(other)

    page = operator.get(f"{USERS}{other.pk}/change/").text
    answer = operator.post(path_to_end(other, session))

    assert path_to_end(other, session) not in page
    assert answer.status_code == 403
    assert Session.objects.filter(pk=session.pk).exists()


def test_ending_a_session_takes_a_post_and_the_forms_protection(
    operator: Browser, ann: Caller
) -> None:
    assert ann.user
    session = session_on_firefox(ann.user)

    assert operator.get(path_to_end(ann.user, session)).status_code == 403
    del operator.headers["X-CSRFToken"]
    assert operator.post(path_to_end(ann.user, session)).status_code == 403

    assert Session.objects.filter(pk=session.pk).exists()


def test_ones_own_session_has_no_button(root: Browser) -> None:
    assert root.user
    page = root.get(f"{USERS}{root.user.pk}/change/").text

    assert "this session" in page
    assert path_to_end(root.user, Session.objects.get()) not in page

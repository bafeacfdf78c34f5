"""Each statement of accounts/statements.py beside its ORM twin, on SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import statements
from accounts.models import Session, User
from accounts.sessions import SessionStore
from testing.people import create_session, create_user
from testing.twins import fields_of

pytestmark = pytest.mark.usefixtures("each_database")


def get_session_user(session_key: str) -> User | None:
    living = Session.objects.filter(expire_date__gt=timezone.now())
    session = living.filter(session_key=session_key).select_related("user").first()
    if session is None or session.user is None:
        return None
    session.user.session_data = session.session_data  # type: ignore[attr-defined]
    session.user.session_public_id = session.public_id  # type: ignore[attr-defined]
    return session.user


def user_of(session_key: str) -> dict[str, object] | None:
    """Return all that the statement loads of a session's user."""
    user = statements.get_session_user(session_key)
    return fields_of(user) if user else None


@pytest.mark.parametrize("seconds", [-1, 60])
def test_get_session_user_returns_the_user_of_a_living_session(seconds: int) -> None:
    key = create_session(create_user("ann", first_name="Ann", daily_tokens=5))
    create_session(create_user("bob"))
    Session.objects.filter(pk=key).update(expire_date=timezone.now() + timedelta(seconds=seconds))

    twin = get_session_user(key)

    assert (twin is not None) == (seconds > 0)
    assert user_of(key) == (fields_of(twin) if twin else None)


@pytest.mark.parametrize("key", ["", "unknown", "a" * 5000, "é", "' OR 1=1 --"])
def test_get_session_user_returns_nobody_for_another_key(key: str) -> None:
    create_session(create_user("ann"))

    assert statements.get_session_user(key) is None
    assert get_session_user(key) is None


def test_get_session_user_returns_nobody_for_a_session_without_a_user() -> None:
    store = SessionStore()
    store.create()

    assert statements.get_session_user(str(store.session_key)) is None
    assert get_session_user(str(store.session_key)) is None
    store.delete()

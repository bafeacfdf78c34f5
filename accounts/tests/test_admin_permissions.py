"""Who may do what in the admin."""

from django.contrib.auth.models import Group

from accounts.models import User
from chat.models import Thread
from testing.admin import USERS, Browser, act, change
from testing.answers import error_of
from testing.people import Caller


def test_deleting_a_user_requires_the_right_to_delete_all_they_have(
    operator: Browser, ann: Caller
) -> None:
    ann.thread()
    path = f"{USERS}{ann.user.pk}/delete/"  # type: ignore[union-attr]

    page = operator.get(path).text
    error_of(operator.post(path, data={"post": "yes"}), 403, "forbidden")

    assert "Cannot delete user" in page
    assert Thread.objects.exists()


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


def test_the_admin_is_closed_to_everybody_but_staff(ann: Caller, nobody: Caller) -> None:
    for caller in (ann, nobody):
        answer = caller.get(USERS)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")

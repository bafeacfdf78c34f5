"""The admin's actions that deactivate and reactivate users."""

from django.contrib.admin.models import LogEntry

from accounts.models import Session, Token, User
from testing.admin import Browser, act, change, form_of, told
from testing.audit import Audit
from testing.people import Caller, create_user, is_logged_in, token_of
from testing.processes import Server


def test_several_users_are_deactivated_with_a_reason(
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


def test_a_user_is_reactivated(root: Browser, ann: Caller) -> None:
    assert ann.user
    ann.user.deactivate()

    act(root, "reactivate", ann.user)

    assert User.objects.get(pk=ann.user.pk).is_active
    assert not is_logged_in(ann)  # old sessions stay ended
    assert LogEntry.objects.get().get_change_message() == "Reactivated."


def test_a_reactivation_leaves_active_users_alone(
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
    assert "Active users were left alone" in page


def test_more_than_a_thousand_users_are_deactivated_and_deleted(root: Browser) -> None:
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


def test_without_a_reason_the_action_asks_again(root: Browser, ann: Caller) -> None:
    assert ann.user

    answer = act(root, "deactivate", ann.user, reason=" ")

    assert "This field is required" in answer.text
    assert is_logged_in(ann)


def test_a_users_form_which_asks_for_no_reason_deactivates_nobody(
    root: Browser, ann: Caller
) -> None:
    assert ann.user
    ann.user.deactivate()
    bob = create_user("bob")

    change(root, ann.user, is_active="on")
    change(root, bob, is_active=None)

    assert not User.objects.get(pk=ann.user.pk).is_active
    assert User.objects.get(pk=bob.pk).is_active


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
    assert "only a superuser can reactivate staff" in told(operator, answer)
    act(root, "reactivate", staff.user)
    assert User.objects.get(pk=staff.user.pk).is_active


def test_nobody_deactivates_themselves(operator: Browser, root: Browser) -> None:
    assert root.user
    assert operator.user

    act(operator, "deactivate", root.user, operator.user, reason="to be alone")
    act(root, "deactivate", root.user, reason="to be alone")

    assert User.objects.filter(is_active=True).count() == 2
    assert not LogEntry.objects.filter(change_message__contains="alone").exists()

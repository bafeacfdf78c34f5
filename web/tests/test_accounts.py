"""Accounts on the page: from registering to deleting."""

import re

from playwright.sync_api import expect

from accounts.models import Token, User
from testing.mail import Mailbox
from testing.people import PASSWORD, Caller, create_user, is_logged_in, long_ago
from testing.waiting import wait_until
from web.tests.conftest import SECONDS, Chat

NEW = "an0ther-lively-horse"


def open_account(chat: Chat, section: str) -> None:
    chat.choose("ann", "Account")
    chat.page.get_by_role("dialog").locator("summary", has_text=section).click()


def test_somebody_registers_logs_out_and_in_again(visitor: Chat) -> None:
    page = visitor.page
    page.goto(visitor.url)
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Name").fill("carl")
    page.get_by_label("E-mail address").fill("carl@example.com")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.locator(".field", has=page.get_by_label("Password"))).to_contain_text("short")

    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(visitor.box).to_be_focused()
    visitor.choose("carl", "Log out")
    expect(page.get_by_label("Name or e-mail address")).to_be_focused()
    page.get_by_label("Name or e-mail address").fill("carl@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid username or password")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()

    expect(visitor.box).to_be_visible()


def test_a_forgotten_password_is_replaced(visitor: Chat, mails: Mailbox) -> None:
    create_user("carl")
    page, before = visitor.page, len(mails.mails)
    page.goto(visitor.url)
    page.get_by_role("link", name="Forgotten your password?").click()
    page.get_by_label("E-mail address").fill("carl@example.com")
    page.get_by_role("button", name="Send the e-mail").click()
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    wait_until(lambda: len(mails.mails) > before, SECONDS)

    link = re.search(r"#/reset/\S+", mails.mails[-1].get_payload(decode=True).decode())
    assert link
    page.goto(f"{visitor.url}/{link[0]}")
    page.get_by_label("New password").fill(NEW)
    page.get_by_role("button", name="Set the password").click()
    page.get_by_label("Name or e-mail address").fill("carl")
    page.get_by_label("Password").fill(NEW)
    page.get_by_role("button", name="Log in").click()

    expect(visitor.box).to_be_visible()


def test_sessions_are_named_and_ended(chat: Chat) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    elsewhere = Caller(chat.url, chat.user)
    elsewhere.headers["User-Agent"] = firefox
    assert is_logged_in(elsewhere)

    open_account(chat, "Where you are logged in")
    session = chat.page.get_by_role("listitem").filter(has_text="seen")
    expect(chat.page.get_by_text("this one")).to_be_visible()
    session.get_by_role("button", name="Log out", exact=True).click()

    expect(session).to_have_count(0)
    assert not is_logged_in(elsewhere)
    expect(chat.page.get_by_text("this one")).to_be_visible()


def test_a_token_is_created_shown_once_and_revoked(chat: Chat) -> None:
    page = chat.page
    open_account(chat, "Tokens for scripts")
    page.get_by_label("What it is for").fill("my script")
    page.get_by_role("button", name="Create a token").click()
    secret = page.locator(".secret code")
    expect(secret).to_have_text(re.compile("^llama_"))
    script = Caller(chat.url)
    script.headers["Authorization"] = f"Bearer {secret.text_content()}"
    assert is_logged_in(script)

    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog", name="Revoke").get_by_role("button", name="Revoke").click()

    wait_until(lambda: not Token.objects.exists(), SECONDS)


def test_use_is_shown(chat: Chat) -> None:
    chat.say("Hello")

    open_account(chat, "What you have used")

    expect(chat.page.get_by_role("row").last).to_contain_text("30 days")
    expect(chat.page.get_by_role("cell", name="llama3.2")).to_be_visible()


def test_password_and_address_are_changed(chat: Chat) -> None:
    page = chat.page
    open_account(chat, "Change the password")
    page.get_by_label("Your password now").fill("wrong")
    page.get_by_label("New password").fill(NEW)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("The password is wrong.")).to_be_visible()
    page.get_by_label("Your password now").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    wait_until(lambda: User.objects.get(username="ann").check_password(NEW), SECONDS)

    page.locator("summary", has_text="Change the e-mail address").click()
    page.get_by_label("New address").fill("ann@example.org")
    page.get_by_role("button", name="Change the address").click()

    wait_until(lambda: User.objects.filter(email="ann@example.org").exists(), SECONDS)
    expect(page.get_by_role("button", name="Change the address")).to_be_enabled()


def test_who_logged_in_long_ago_is_asked_for_the_password_before_the_account_is_deleted(
    visitor: Chat,
) -> None:
    visitor.log_in("ann", password_at=long_ago())
    page = visitor.open().page
    open_account(visitor, "Delete the account")
    delete = page.get_by_role("button", name="Delete the account")
    sure = page.get_by_role("button", name="Delete everything")
    password = page.get_by_label("Your password, once more").locator("visible=true")
    expect(password).to_have_count(0)
    delete.click()
    sure.click()
    password.fill(PASSWORD)
    delete.click()
    sure.click()

    expect(page.get_by_text("Your account has been deleted.")).to_be_visible()
    assert not User.objects.exists()

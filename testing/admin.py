"""The admin as its users see it: a browser, its forms and its lists."""

import re
from typing import Any

import httpx

from accounts.models import User
from testing.answers import cookie_of
from testing.people import PASSWORD, Caller

USERS = "/admin/accounts/user/"
NEW_PASSWORD = "an0ther-horse"


class Browser(Caller):
    """Somebody of the staff who uses the admin, with Django's protection of forms."""

    TOKEN = "f" * 32

    def __init__(self, *args: Any, **session: Any) -> None:
        super().__init__(*args, **session)
        cookie = f"{self.headers.get('Cookie', '')}; csrftoken={self.TOKEN}"
        self.headers.update({"Cookie": cookie, "X-CSRFToken": self.TOKEN})


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


def set_password(browser: Browser, user: User, new: str = NEW_PASSWORD) -> httpx.Response:
    """Give a user another password."""
    form = {"password1": new, "password2": new, "usable_password": "true"}
    return browser.post(f"{USERS}{user.pk}/password/", data=form)


def change_own_password(
    browser: Browser, old: str = PASSWORD, new: str = NEW_PASSWORD
) -> httpx.Response:
    """Take another password."""
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return browser.post("/admin/password_change/", data=form)


def add(browser: Browser, name: str, password: str) -> httpx.Response:
    """Add a user."""
    fields = {"username": name, "email": f"{name}@example.com", "usable_password": "true"}
    passwords = {"password1": password, "password2": password}
    form = form_of(browser.get(f"{USERS}add/"))
    return browser.post(f"{USERS}add/", data={**form, **fields, **passwords})

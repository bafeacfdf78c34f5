"""The admin as its users see it: a browser, its forms and its lists."""

from typing import Any

from testing.people import Caller


class Browser(Caller):
    """Somebody of the staff who uses the admin, with Django's protection of forms."""

    TOKEN = "f" * 32

    def __init__(self, *args: Any, **session: Any) -> None:
        super().__init__(*args, **session)
        cookie = f"{self.headers.get('Cookie', '')}; csrftoken={self.TOKEN}"
        self.headers.update({"Cookie": cookie, "X-CSRFToken": self.TOKEN})

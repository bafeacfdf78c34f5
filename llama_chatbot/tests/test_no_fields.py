"""Calls that take no fields refuse them: who sends some expects something else to happen."""

import pytest

from accounts.models import User
from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/auth/logout/"),
        ("POST", "/auth/deactivate/bob/"),
        ("DELETE", "/auth/sessions/"),
        ("DELETE", "/auth/sessions/1/"),
        ("DELETE", "/auth/tokens/1/"),
        ("DELETE", "/chat/threads/delete/"),
        ("DELETE", "/chat/threads/{thread}/delete/"),
        ("POST", "/chat/threads/{thread}/stop/"),
    ],
)
def test_a_call_that_takes_no_fields_refuses_them(ann: Caller, method: str, path: str) -> None:
    thread = ann.thread()
    path = path.format(thread=thread.pk)
    if "deactivate" in path:
        User.objects.update(is_staff=True)

    answer = ann.request(method, path, json={"ids": [1]})
    body = error_of(answer, 400, "invalid")
    assert body["fields"].keys() == {"ids"}
    error_of(ann.request(method, path, json=[1]), 400, "invalid")
    error_of(ann.request(method, path, content=b"ids=1"), 415, "unsupported_media_type")
    error_of(ann.request(method, path, content=b"{", headers=JSON), 400, "invalid_json")
    assert Thread.objects.get() == thread

    assert ann.request(method, path, json={}).status_code in (200, 404)

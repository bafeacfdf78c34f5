"""Calls refuse fields that they do not know: who sends some expects something else to happen."""

import pytest

from accounts.models import User
from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/auth/logout/", 200),
        ("POST", "/auth/deactivate/bob/", 404),
        ("DELETE", "/auth/sessions/", 200),
        ("DELETE", "/auth/sessions/1/", 404),
        ("DELETE", "/auth/tokens/1/", 404),
        ("DELETE", "/chat/threads/delete/", 200),
        ("DELETE", "/chat/threads/{thread}/delete/", 200),
        ("DELETE", "/chat/threads/{thread}/messages/1/", 404),
        ("POST", "/chat/threads/{thread}/stop/", 200),
    ],
)
def test_a_call_refuses_fields_that_it_does_not_know(
    ann: Caller, method: str, path: str, status: int
) -> None:
    thread = ann.thread()
    path = path.format(thread=thread.pk)
    if "deactivate" in path:
        User.objects.update(is_staff=True)

    answer = ann.request(method, path, json={"id": [1]})
    body = error_of(answer, 400, "invalid")
    assert body["fields"].keys() == {"id"}
    error_of(ann.request(method, path, json=[1]), 400, "invalid")
    error_of(ann.request(method, path, content=b"ids=1"), 415, "unsupported_media_type")
    error_of(ann.request(method, path, content=b"{", headers=JSON), 400, "invalid_json")
    assert Thread.objects.get() == thread

    assert ann.request(method, path, json={}).status_code == status

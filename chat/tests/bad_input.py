"""What the tests of bad input share: calls with a body, and words that nothing may repeat."""

import pytest

SECRET = "the-words-of-the-message"
JSON = {"Content-Type": "application/json"}

# The calls with a body: the method, the path with the thread's id, and a field of the body.
CALLS = [
    ("POST", "/chat/streaming-response/{}/", "message"),
    ("POST", "/chat/response/{}/", "message"),
    ("POST", "/chat/streaming-response/new/", "message"),
    ("POST", "/chat/response/new/", "message"),
    ("POST", "/chat/threads/{}/regenerate/", "model"),
    ("POST", "/chat/threads/new/", "title"),
    ("PATCH", "/chat/threads/{}/", "title"),
    ("PUT", "/chat/threads/{}/update-title/", "title"),
    ("PUT", "/chat/threads/{}/branch/", "message_id"),
    ("POST", "/chat/threads/{}/fork/", "message_id"),
]
every_call = pytest.mark.parametrize(
    ("method", "path", "field"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS]
)

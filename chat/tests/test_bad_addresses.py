"""Methods, paths and queries that no client should send: each is refused, and changes nothing."""

import re
import socket

import pytest

from chat.models import Thread
from testing.answers import error_of
from testing.people import Caller
from testing.processes import Server

pytestmark = pytest.mark.usefixtures("nothing_happens")

METHODS = {
    "/chat/threads/": "GET",
    "/chat/threads/new/": "POST",
    "/chat/threads/delete/": "DELETE",
    "/chat/threads/{}/": "GET, PATCH",
    "/chat/threads/{}/messages/": "GET",
    "/chat/threads/{}/update-title/": "PATCH, PUT",
    "/chat/threads/{}/delete/": "DELETE",
    "/chat/threads/{}/stop/": "POST",
    "/chat/response/{}/": "POST",
    "/chat/streaming-response/{}/": "GET, POST",
    "/chat/models/": "GET",
    "/auth/usage/": "GET",
}


@pytest.mark.parametrize("path", METHODS)
def test_another_method_is_refused_with_those_allowed(
    ann: Caller, thread: Thread, path: str
) -> None:
    allowed = METHODS[path].split(", ")
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - set(allowed):
        answer = ann.request(method, path.format(thread.pk))

        error_of(answer, 405, "method_not_allowed")
        assert sorted(re.split(", ?", answer.headers["Allow"])) == allowed


IDS = ["0", "999999999", str(2**63 - 1), str(2**63), str(2**64), "9" * 100, "9" * 5000]


OTHERS = ["-1", "1.0", "x", "%00", "1%00", "%ff", "1%0a", "٣", "1e3", "0x1", "%F0%9F%A6%99", ".."]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/chat/threads/{}/"),
        ("PATCH", "/chat/threads/{}/"),
        ("GET", "/chat/threads/{}/messages/"),
        ("PUT", "/chat/threads/{}/update-title/"),
        ("DELETE", "/chat/threads/{}/delete/"),
        ("POST", "/chat/threads/{}/stop/"),
        ("POST", "/chat/response/{}/"),
        ("POST", "/chat/streaming-response/{}/"),
        ("GET", "/chat/streaming-response/{}/"),
    ],
)
@pytest.mark.parametrize("thread_ids", [IDS, OTHERS], ids=["numbers", "other text"])
def test_a_thread_that_is_not_there_is_not_found(
    ann: Caller, method: str, path: str, thread_ids: list[str]
) -> None:
    body = {"message" if "response" in path else "title": "x"}
    has_body = method in ("PATCH", "PUT") or (method == "POST" and "stop" not in path)

    for thread_id in thread_ids:
        answer = ann.request(method, path.format(thread_id), json=body if has_body else None)

        error_of(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/chat/threads/?cursor=\xff\xfe", 400),
        (b"/chat/threads/?limit=\xff", 400),
        (b"/chat/threads/?cursor=%ff%00", 400),
        (b"/chat/threads/?limit=%d9%a3%00", 400),
        (b"/chat/threads/\xff\xfe/", 400),
        (b"/chat/\xf0\x9f/", 400),
        (b"/chat/streaming-response/1/?offset=\xff", 400),
    ],
)
def test_raw_bytes_in_the_address_are_no_crash(
    server: Server, ann: Caller, target: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        cookie = ann.headers["Cookie"].encode()
        connection.sendall(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: %b\r\n\r\n"
            % (target, cookie)
        )
        answer = b""
        while more := connection.recv(65536):
            answer += more

    assert int(answer.split()[1]) == status, answer


@pytest.mark.parametrize("offset", ["-1", "x", str(2**53), "1.5", "", "9" * 5000])
def test_an_offset_out_of_its_bounds_is_refused(ann: Caller, thread: Thread, offset: str) -> None:
    answer = ann.get(f"/chat/streaming-response/{thread.pk}/", params={"offset": offset})

    assert "offset" in error_of(answer, 400, "invalid")["fields"]

"""Bodies that no client should send: each is refused, and changes nothing."""

import json
import os
import select
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chat.models import Message, Thread
from chat.tests.bad_input import JSON, SECRET, every_call
from testing.answers import error_of
from testing.people import Caller
from testing.processes import Server

pytestmark = pytest.mark.usefixtures("nothing_happens")

MIB = 1024 * 1024
# The others take no field that is needed.
NEEDING_A_BODY = [
    ("POST", "/chat/streaming-response/{}/"),
    ("POST", "/chat/response/{}/"),
    ("POST", "/chat/streaming-response/new/"),
    ("POST", "/chat/response/new/"),
    ("PUT", "/chat/threads/{}/update-title/"),
    ("PUT", "/chat/threads/{}/branch/"),
    ("POST", "/chat/threads/{}/fork/"),
]


BODIES = {
    "no JSON": b'{"%b": ' + SECRET.encode(),
    "a single quote": b"{'%b': 'x'}",
    "two values": b'{"%b": "x"} {}',
    "NaN": b'{"%b": NaN}',
    "infinity": b'{"%b": -Infinity}',
    "200,000 nested brackets": b'{"%b": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "200,000 nested braces": b'{"%b":' * 1 + b'{"a":' * 150_000 + b"1" + b"}" * 150_001,
    "a lone surrogate": b'{"%b": "\\ud800 ' + SECRET.encode() + b'"}',
    "bytes that are no UTF-8": b'{"%b": "\xff\xfe"}',
    "UTF-16": '{"%b": "x"}'.encode("utf-16"),
    "5,000 digits": b'{"%b": ' + b"9" * 5000 + b"}",
    "5,000 digits alone": b"9" * 5000,
    "a byte order mark": b'\xef\xbb\xbf{"%b": "x"}',
}


@every_call
@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_no_json_is_refused(
    ann: Caller, thread: Thread, method: str, path: str, field: str, body: str
) -> None:
    content = BODIES[body].replace(b"%b", field.encode())

    answer = ann.request(method, path.format(thread.pk), content=content, headers=JSON)

    error_of(answer, 400, "invalid_json")


@pytest.mark.parametrize("headers", [{}, JSON], ids=["without a type", "with one"])
@pytest.mark.parametrize(("method", "path"), NEEDING_A_BODY)
def test_a_missing_body_is_named(
    ann: Caller, thread: Thread, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = ann.request(method, path.format(thread.pk), headers=headers)

    assert error_of(answer, 400, "invalid")["fields"] == {"body": ["Field required"]}


@pytest.mark.parametrize("body", ["[]", "[1]", '"text"', "5", "true", "null"])
@every_call
def test_a_body_that_is_no_object_is_refused(
    ann: Caller, thread: Thread, method: str, path: str, field: str, body: str
) -> None:
    answer = ann.request(method, path.format(thread.pk), content=body, headers=JSON)

    error_of(answer, 400, "invalid")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": " \n\t\u3000"}, "message"),
        ({"message": None}, "message"),
        ({"message": 5}, "message"),
        ({"message": [SECRET]}, "message"),
        ({"message": {"role": "system", "content": SECRET}}, "message"),
        ({"message": f"{SECRET}\0"}, "message"),
        ({"message": SECRET, "role": "system"}, "role"),
        ({"message": SECRET, "messages": []}, "messages"),
        ({"message": SECRET, "parent_id": "1"}, "parent_id"),
        ({"message": SECRET, "parent_id": 1.5}, "parent_id"),
        ({"message": SECRET, "parent_id": True}, "parent_id"),
        ({"message": SECRET, "parent_id": 0}, "parent_id"),
        ({"message": SECRET, "parent_id": 2**63}, "parent_id"),
        ({"message": SECRET, "parent_id": 10**400}, "parent_id"),
        ({"message": SECRET, "parent_id": 999_999_999}, "parent_id"),
    ],
)
def test_an_invalid_message_is_refused(
    ann: Caller, thread: Thread, body: dict[str, Any], field: str
) -> None:
    for kind in ("response", "streaming-response"):
        problems = error_of(ann.post(f"/chat/{kind}/{thread.pk}/", json=body), 400, "invalid")

        assert field in problems["fields"]
        assert SECRET not in json.dumps(problems)


@pytest.mark.parametrize(
    ("owner", "sender"), [("this thread", "user"), ("another thread", "bot"), ("bob", "bot")]
)
def test_a_parent_that_is_no_reply_of_the_thread_is_refused(
    ann: Caller, bob: Caller, thread: Thread, owner: str, sender: str
) -> None:
    other = {"this thread": lambda: thread, "another thread": ann.thread, "bob": bob.thread}[
        owner
    ]()
    parent = Message.objects.create(thread=other, sender=sender, content="Hello")

    answer = ann.post(
        f"/chat/response/{thread.pk}/", json={"message": SECRET, "parent_id": parent.pk}
    )

    assert "parent_id" in error_of(answer, 400, "invalid")["fields"]
    assert thread.messages.count() == (owner == "this thread")
    (parent if other == thread else other).delete()


@pytest.mark.parametrize("key", ["x" * 201, "x" * 5000])
def test_a_key_that_is_too_long_is_refused(ann: Caller, thread: Thread, key: str) -> None:
    error_of(ann.say(thread, SECRET, headers={"Idempotency-Key": key}), 400, "invalid")


@every_call
def test_a_mebibyte_is_read_and_one_byte_more_is_not(
    ann: Caller, thread: Thread, method: str, path: str, field: str
) -> None:
    frame = f'{{"{field}": "%s"}}'
    room = MIB - len(frame % "")
    url = path.format(thread.pk)

    fits = ann.request(method, url, content=frame % ("x" * room), headers=JSON)
    over = ann.request(method, url, content=frame % ("x" * (room + 1)), headers=JSON)

    assert field in error_of(fits, 400, "invalid")["fields"]  # too long, but read
    error_of(over, 413, "too_large")


def memory_of(server: Server) -> int:
    """Return how much memory a server has, in bytes."""
    command = ["ps", "-o", "rss=", "-p", str(server.pid)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024


def files_of(server: Server) -> set[str]:
    """Return the files that a server has open, its database's not counted."""
    files = set()
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files.add(os.readlink(link))
    return {file for file in files if file.startswith("/") and "sqlite" not in file}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
@pytest.mark.parametrize("framing", ["Content-Length: 209715200", "Transfer-Encoding: chunked"])
def test_two_hundred_megabytes_are_refused_while_they_arrive(
    server: Server, ann: Caller, thread: Thread, framing: str
) -> None:
    memory, files = memory_of(server), files_of(server)
    spooled: set[str] = set()
    head = (
        f"POST /chat/response/{thread.pk}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n"
        f"Cookie: {ann.headers['Cookie']}\r\nContent-Type: application/json\r\n\r\n"
    )
    chunk = b" " * 65536
    if "chunked" in framing:
        chunk = b"10000\r\n" + chunk + b"\r\n"

    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode())
        while sent < 200 * MIB and not select.select([connection], [], [], 0)[0]:
            sent += connection.send(chunk[sent % len(chunk) :])
            spooled |= files_of(server) - files
        answer = b""
        with suppress(ConnectionResetError):  # what it has not read is left behind
            while piece := connection.recv(65536):
                answer += piece

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "too_large"' in answer
    assert sent < 20 * MIB
    assert memory_of(server) - memory < 20 * MIB
    assert not spooled


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"],
)
@every_call
def test_a_body_of_another_type_is_refused(
    ann: Caller, thread: Thread, method: str, path: str, field: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    content = f'{{"{field}": "x"}}'.encode()

    answer = ann.request(method, path.format(thread.pk), content=content, headers=headers)

    error_of(answer, 415, "unsupported_media_type")


def test_a_form_is_refused_before_its_files_are_read(ann: Caller, thread: Thread) -> None:
    answer = ann.post(f"/chat/response/{thread.pk}/", files={"message": b"x"})

    error_of(answer, 415, "unsupported_media_type")

"""Bodies, paths and queries that no client should send: each is refused, and changes nothing."""

import json
import os
import re
import select
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chat.models import Message, Send, Thread
from testing.answers import error_of
from testing.people import Caller
from testing.processes import Server
from testing.scripted_ollama import ScriptedOllama

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}
SECRET = "the-words-of-the-message"


@pytest.fixture
def thread(ann: Caller) -> Thread:
    return ann.thread(title="Old")


# The calls with a body; each path with the thread's id.
CALLS = [
    ("POST", "/chat/streaming-response/{}/", "message"),
    ("POST", "/chat/response/{}/", "message"),
    ("POST", "/chat/threads/new/", "title"),
    ("PATCH", "/chat/threads/{}/", "title"),
    ("PUT", "/chat/threads/{}/update-title/", "title"),
]


@pytest.fixture(autouse=True)
def nothing_happens(server: Server, ann: Caller, thread: Thread, ollama: ScriptedOllama) -> Any:
    """Nothing is stored, sent or logged, and nothing crashes."""
    before = Thread.objects.values().get()
    log = len(server.log())
    yield
    assert Thread.objects.values().get() == before
    assert not Message.objects.exists()
    assert not Send.objects.exists()
    assert not ollama.chats
    said = server.log()[log:]
    assert SECRET not in said
    assert "Traceback" not in said


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


@pytest.mark.parametrize("body", BODIES)
def test_it_refuses_a_body_that_is_no_json(ann: Caller, thread: Thread, body: str) -> None:
    for method, path, field in CALLS:
        content = BODIES[body].replace(b"%b", field.encode())

        answer = ann.request(method, path.format(thread.pk), content=content, headers=JSON)

        error_of(answer, 400, "invalid_json")


def test_it_says_where_a_body_is_missing(ann: Caller, thread: Thread) -> None:
    for method, path, _ in CALLS:
        for headers in ({}, JSON):
            if path in ("/chat/threads/new/", "/chat/threads/{}/"):
                continue  # there no field is needed

            answer = ann.request(method, path.format(thread.pk), headers=headers)

            problems = error_of(answer, 400, "invalid")
            assert problems["fields"] == {"body": ["Field required"]}


@pytest.mark.parametrize("body", ["[]", "[1]", '"text"', "5", "true", "null"])
def test_it_refuses_a_body_that_is_no_object(ann: Caller, thread: Thread, body: str) -> None:
    for method, path, _ in CALLS:
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
        ({"message": SECRET, "parent_id": 1.0}, "parent_id"),
        ({"message": SECRET, "parent_id": True}, "parent_id"),
        ({"message": SECRET, "parent_id": 0}, "parent_id"),
        ({"message": SECRET, "parent_id": 2**63}, "parent_id"),
        ({"message": SECRET, "parent_id": 10**400}, "parent_id"),
        ({"message": SECRET, "parent_id": 999_999_999}, "parent_id"),
    ],
)
def test_it_refuses_a_message_that_is_none(
    ann: Caller, thread: Thread, body: dict[str, Any], field: str
) -> None:
    for kind in ("response", "streaming-response"):
        problems = error_of(ann.post(f"/chat/{kind}/{thread.pk}/", json=body), 400, "invalid")

        assert field in problems["fields"]
        assert SECRET not in json.dumps(problems)


def test_it_refuses_a_parent_in_another_thread(ann: Caller, bob: Caller, thread: Thread) -> None:
    foreign = Message.objects.create(
        thread=Thread(pk=thread.pk, user=thread.user), sender="user", content="not the bot's"
    )

    answer = ann.post(
        f"/chat/response/{thread.pk}/", json={"message": SECRET, "parent_id": foreign.pk}
    )

    assert "parent_id" in error_of(answer, 400, "invalid")["fields"]
    foreign.delete()


@pytest.mark.parametrize("key", ["x" * 201, "x" * 5000])
def test_it_refuses_a_key_that_is_too_long(ann: Caller, thread: Thread, key: str) -> None:
    error_of(ann.say(thread, SECRET, headers={"Idempotency-Key": key}), 400, "invalid")


# --- How much -----------------------------------------------------------------------------------


def test_a_mebibyte_is_read_and_one_byte_more_is_not(ann: Caller, thread: Thread) -> None:
    for method, path, field in CALLS:
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


# --- What kind, how, and where ------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"],
)
def test_it_takes_json_only(ann: Caller, thread: Thread, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    for method, path, field in CALLS:
        content = f'{{"{field}": "x"}}'.encode()

        answer = ann.request(method, path.format(thread.pk), content=content, headers=headers)

        error_of(answer, 415, "unsupported_media_type")


def test_a_form_is_refused_before_its_files_are_read(ann: Caller, thread: Thread) -> None:
    answer = ann.post(f"/chat/response/{thread.pk}/", files={"message": b"x"})

    error_of(answer, 415, "unsupported_media_type")


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
def test_it_refuses_other_methods_with_those_it_takes(
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
def test_a_thread_that_is_not_there_is_not_found(ann: Caller, method: str, path: str) -> None:
    body = {"message" if "response" in path else "title": "x"}
    has_body = method in ("PATCH", "PUT") or (method == "POST" and "stop" not in path)

    for thread_id in IDS + OTHERS:
        answer = ann.request(method, path.format(thread_id), json=body if has_body else None)

        error_of(answer, 404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        b"/chat/threads/?cursor=\xff\xfe",
        b"/chat/threads/?limit=\xff",
        b"/chat/threads/?cursor=%ff%00",
        b"/chat/threads/?limit=%d9%a3%00",
        b"/chat/threads/\xff\xfe/",
        b"/chat/\xf0\x9f/",
        b"/chat/streaming-response/1/?offset=\xff",
    ],
)
def test_raw_bytes_in_the_address_are_no_crash(server: Server, ann: Caller, target: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        cookie = ann.headers["Cookie"].encode()
        connection.sendall(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: %b\r\n\r\n"
            % (target, cookie)
        )
        answer = b""
        while more := connection.recv(65536):
            answer += more

    status = int(answer.split()[1])
    assert status in (400, 404), answer


@pytest.mark.parametrize("offset", ["-1", "x", str(2**53), "1.5", "", "9" * 5000])
def test_it_refuses_an_offset_out_of_its_bounds(ann: Caller, thread: Thread, offset: str) -> None:
    answer = ann.get(f"/chat/streaming-response/{thread.pk}/", params={"offset": offset})

    assert "offset" in error_of(answer, 400, "invalid")["fields"]

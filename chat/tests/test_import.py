"""POST /chat/import/. The formats are in test_import_formats.py and those of each program."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from select import select
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from chat.models import Message, Thread
from chat.search.find import find
from chat.tests.exports import chatgpt_chat, file_of
from chat.transfer.schemas import ImportLine
from testing.answers import error_of
from testing.people import Caller, create_user, token_of
from testing.processes import StartServer
from testing.waiting import wait_until

URL = "/chat/import/"
JSON = {"Content-Type": "application/json"}


def chat(number: int, words: str = "In the Andes.") -> dict[str, Any]:
    """One of many conversations."""
    conversation = {**chatgpt_chat(), "id": str(number), "conversation_id": str(number)}
    conversation["mapping"]["a1"]["message"]["content"]["parts"] = [words]
    return conversation


def send(caller: Caller, content: Any, **headers: str) -> httpx.Response:
    return caller.post(URL, content=content, headers={**JSON, **headers}, timeout=60)


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    for line in lines:
        described = TypeAdapter(ImportLine).validate_python(line)
        assert described.model_dump() == line
    return lines


def test_a_file_is_imported_and_found(ann: Caller) -> None:
    assert ann.user

    thread_line, end = lines_of(send(ann, file_of(chat(1))))

    thread = Thread.objects.get()
    assert thread.user == ann.user
    assert thread_line == {
        "type": "thread",
        "thread_id": thread.pk,
        "title": "About llamas",
        "messages": 4,
        "left_out": {},
    }
    assert end == {"type": "end", "threads": 1, "messages": 4, "skipped": 0, "already_there": 0}
    listed = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert [message["content"] for message in listed] == ["Where do llamas live?", "In the Andes."]
    assert listed[0]["sibling_ids"] != [listed[0]["id"]]
    assert find(ann.user, "andes", 10, "")[0]


def test_an_imported_thread_goes_on(ann: Caller) -> None:
    line, _ = lines_of(send(ann, file_of(chat(1))))

    answer = ann.post(f"/chat/response/{line['thread_id']}/", json={"message": "And vicunas?"})

    assert answer.status_code == 200
    assert answer.json()["message"]["context"]["turns_kept"] == 1


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/x-ndjson",
        "application/zip",
        "application/x-zip-compressed",
        "application/octet-stream",
    ],
)
def test_the_format_is_seen_in_the_file(ann: Caller, media_type: str) -> None:
    lines = lines_of(send(ann, file_of(chat(1)), **{"Content-Type": media_type}))

    assert lines[-1]["threads"] == 1


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_a_form_is_refused(ann: Caller, media_type: str) -> None:
    answer = send(ann, file_of(chat(1)), **{"Content-Type": media_type})

    error_of(answer, 415, "unsupported_media_type")
    assert "application/zip" in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"[{"])
def test_a_file_that_is_none_is_refused_before_anything_is_streamed(
    ann: Caller, content: bytes
) -> None:
    error_of(send(ann, content), 400, "not_importable")


def test_damage_in_the_middle_ends_the_lines_with_an_error(ann: Caller) -> None:
    lines = lines_of(send(ann, file_of(chat(1), chat(2))[:-300]))

    assert [line["type"] for line in lines] == ["thread", "error"]
    assert lines[1]["code"] == "not_importable"
    assert Thread.objects.count() == 1


def test_a_token_is_enough(ann: Caller) -> None:
    script = Caller(str(ann.base_url))
    script.headers["Authorization"] = f"Bearer {token_of(ann)}"

    assert lines_of(send(script, file_of(chat(1))))[-1]["threads"] == 1


def test_more_than_a_mebibyte_is_taken(ann: Caller) -> None:
    words = "x" * 900_000
    lines = lines_of(send(ann, file_of(*(chat(number, words) for number in range(20)))))

    assert lines[-1]["threads"] == 20
    assert Message.objects.filter(content=words).count() == 20


def test_more_than_256_mebibytes_are_not(ann: Caller) -> None:
    piece = b" " * 2**20

    def content() -> Iterator[bytes]:
        yield b"["
        for _ in range(256):
            yield piece

    try:
        answer = send(ann, content())
    except httpx.WriteError:
        return  # the server has said so, and no longer listens
    error_of(answer, 413, "too_large")
    assert "256 MiB" in answer.json()["error"]


def begin_upload(caller: Caller, size: int) -> http.client.HTTPConnection:
    """Send the call and the first of this many bytes."""
    url = caller.base_url
    connection = http.client.HTTPConnection(url.host, url.port, timeout=20)
    connection.putrequest("POST", URL)
    headers = {**JSON, "Cookie": caller.headers.get("Cookie", "")}
    for name, value in {**headers, "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders(b"[")
    return connection


def test_who_is_not_logged_in_is_answered_before_the_file_is_read(nobody: Caller) -> None:
    with closing(begin_upload(nobody, 100_000_000)) as upload:
        answer = upload.getresponse()

        assert answer.status == 401
        assert json.loads(answer.read())["code"] == "not_authenticated"
        assert answer.headers["Connection"] == "close"


def test_one_file_at_a_time(ann: Caller, bob: Caller) -> None:
    content = file_of(chat(1))
    uploads = [begin_upload(ann, len(content)) for _ in range(2)]
    try:
        (refused,), _, _ = select([upload.sock for upload in uploads], [], [], 20)
        uploads.sort(key=lambda upload: upload.sock is refused)
        first, second = uploads
        answer = second.getresponse()
        assert (answer.status, json.load(answer)["code"]) == (409, "import_in_progress")
        assert lines_of(send(bob, file_of(chat(2))))[-1]["threads"] == 1

        first.send(content[1:])

        answer = first.getresponse()
        assert answer.status == 200
        assert json.loads(answer.readlines()[-1])["threads"] == 1
    finally:
        for upload in uploads:
            upload.close()
    assert lines_of(send(ann, file_of(chat(3))))[-1]["threads"] == 1


def test_others_are_served_while_a_file_is_imported(ann: Caller, bob: Caller) -> None:
    content = file_of(*(chat(number, "llama " * 1_000) for number in range(300)))
    waits = []
    with ann.stream("POST", URL, content=content, headers=JSON, timeout=60) as answer:
        for _ in answer.iter_lines():
            began = time.monotonic()
            assert bob.post("/chat/threads/new/").status_code == 201
            waits.append(time.monotonic() - began)

    assert Thread.objects.filter(user=ann.user).count() == 300
    assert sorted(waits)[len(waits) // 2] < 0.5


def test_a_client_that_leaves_may_send_the_file_again(ann: Caller) -> None:
    content = file_of(*(chat(number) for number in range(200)))
    with (
        Caller(str(ann.base_url), ann.user) as leaving,
        leaving.stream("POST", URL, content=content, headers=JSON) as answer,
    ):
        next(answer.iter_lines())

    wait_until(lambda: send(ann, b"[]").status_code == 200)
    end = lines_of(send(ann, content))[-1]

    assert end["threads"] + end["already_there"] == 200
    assert end["already_there"] > 0
    assert Thread.objects.count() == 200


def test_a_client_that_leaves_in_the_middle_of_the_file_leaves_nothing(ann: Caller) -> None:
    def content() -> Iterator[bytes]:
        yield file_of(chat(1))[:-1]
        raise ZeroDivisionError

    with Caller(str(ann.base_url), ann.user) as leaving, pytest.raises(ZeroDivisionError):
        send(leaving, content())

    wait_until(lambda: send(ann, b"[]").status_code == 200)
    assert not Thread.objects.exists()


def test_a_server_that_is_killed_in_the_middle_leaves_nothing_half(
    start_server: StartServer, database_url: str
) -> None:
    server = start_server(DATABASE_URL=database_url)
    ann = Caller(server.url, create_user("ann"))
    content = file_of(*(chat(number, "llama " * 2_000) for number in range(300)))
    with (
        pytest.raises(httpx.HTTPError),
        ann.stream("POST", URL, content=content, headers=JSON, timeout=60) as answer,
    ):
        lines = answer.iter_lines()
        stored = (line for line in lines if json.loads(line)["type"] == "thread")
        for _ in range(5):
            next(stored)
        server.kill()
        list(lines)

    threads = Thread.all_objects.all()
    assert 5 <= threads.count() < 300
    assert {thread.messages.count() for thread in threads} == {4}
    assert all(thread.current_message_id for thread in threads)
    there = threads.count()
    server.start()
    end = lines_of(send(ann, content))[-1]
    assert (end["already_there"], end["threads"]) == (there, 300 - there)


def test_a_server_that_ends_says_so(start_server: StartServer, database: None) -> None:
    server = start_server()
    ann = Caller(server.url, create_user("ann"))
    content = file_of(*(chat(number, "llama " * 2_000) for number in range(300)))
    with ann.stream("POST", URL, content=content, headers=JSON, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert server._process
        server._process.terminate()
        *_, last = lines

    error = json.loads(last)
    assert (error["type"], error["code"]) == ("error", "unavailable")
    assert "again" in error["error"]

"""Which files can be imported, and that a hostile one costs neither memory nor time."""

import io
import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from chat import statements
from chat.models import Message, Thread
from chat.tests.exports import chatgpt_chat, file_of
from chat.transfer import importing, reading
from chat.transfer.reading import NotReadable
from testing.people import create_user
from testing.processes import ROOT

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def ann(database: None) -> User:
    return create_user("ann")


def import_file(user: User, content: bytes) -> list[dict[str, Any]]:
    """Import a file; return the lines, but for progress."""
    lines = importing.run(user, io.BytesIO(content), None)
    return [line for line in lines if line["type"] != "progress"]


def chat(number: int) -> dict[str, Any]:
    """One of many conversations."""
    return {**chatgpt_chat(), "id": str(number), "conversation_id": str(number)}


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"hello",
        b"<html></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
        b"\xff\xfe[\x00]\x00",
        b"[",
        b"[{",
        b'[{"title": "x',
        b'[{"title": }]',
        b"[1,]",
        b"{]",
        b"[NaN]",
        b'["\xff"]',
        b"[1e999]",
        b"[" + b"9" * 100_000 + b"]",
        b"PK",
    ],
)
def test_what_is_no_json_is_refused(ann: User, content: bytes) -> None:
    with pytest.raises(NotReadable, match="not valid JSON"):
        import_file(ann, content)


def test_what_came_before_the_damage_stays(ann: User) -> None:
    lines = importing.run(ann, io.BytesIO(file_of(chat(1), chat(2))[:-200]), None)

    assert next(lines)["type"] == "thread"
    with pytest.raises(NotReadable, match="not valid JSON"):
        list(lines)
    assert Thread.objects.count() == 1
    assert Message.objects.count() == 4


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + file_of(chat(1)),
        b" \r\n\t " + file_of(chat(1)) + b"\n\n",
        json.dumps(chat(1)).encode(),
        json.dumps(chat(1), indent=2).encode(),
        json.dumps(chat(1), ensure_ascii=False).encode(),
    ],
)
def test_json_may_be_written_in_any_way(ann: User, content: bytes) -> None:
    lines = import_file(ann, content)

    assert [line["type"] for line in lines] == ["thread", "end"]


@pytest.mark.parametrize("content", [b"[]", b"{}", b"[[]]", b"null", b'"text"', b"[{}, 1, []]"])
def test_json_without_conversations_imports_nothing(ann: User, content: bytes) -> None:
    end = import_file(ann, content)[-1]

    assert (end["type"], end["threads"]) == ("end", 0)


# In memory of so much more than the process has before.
ROOM = 200 * 2**20


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: b"[" * 2_000_000, "nested too deeply"),
        (lambda: b'{"mapping":' * 500_000, "nested too deeply"),
        (lambda: b'[{"title":"' + b"x" * 20_000_000 + b'"}]', "without the end of a text"),
        (lambda: b'[{"' + b"x" * 20_000_000 + b'":1}]', "without the end of a text"),
        (lambda: b"[" + b"0," * 2_000_000 + b"0]", "more than 20,000 conversations"),
        (lambda: b"[" + b"{}," * 2_000_000 + b"{}]", "more than 20,000 conversations"),
        (
            lambda: b'[{"title":"a","mapping":{' + b'"x":{"message":{}},' * 600_000 + b'"y":1}}]',
            "too large",
        ),
        (
            lambda: (
                b'[{"title":"a","mapping":{"x":{"message":{"content":{"parts":["'
                + b'"," '.join([b"y" * 1_000_000] * 40)
                + b'"]}}}}}]'
            ),
            "too large",
        ),
        (
            lambda: b'[{"title":"a","junk":[' + b"[1,2,3]," * 1_100_000 + b"1]}]",
            "more than 5,000,000 values",
        ),
    ],
)
def test_a_hostile_file_is_told_of_within_seconds_and_in_little_memory(
    make: Callable[[], bytes], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "hostile.json"
    file.write_bytes(make())
    program = f"""if True:
        import django, resource, sys, time
        django.setup()
        from chat.models import Thread
        from chat.transfer import importing, reading
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        try:
            print(*importing.run(None, open({str(file)!r}, "rb"), None))
        except reading.NotReadable as error:
            print(error.message)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(time.process_time() - began, (after - before) * 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    *lines, measured = done.stdout.splitlines()
    seconds, memory = map(float, measured.split())
    assert told in " ".join(lines)
    assert seconds < 15
    assert memory < ROOM


def test_a_large_file_is_imported_in_little_memory(ann: User, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    words = "llama " * 500
    with file.open("w") as out:
        out.write("[")
        for number in range(300):
            conversation = chat(number)
            for node in conversation["mapping"].values():
                if node["message"] and node["message"]["content"]["parts"][0]:
                    node["message"]["content"]["parts"] = [words + str(number)]
                    node["message"]["metadata"]["junk"] = words * 10
            out.write(("," if number else "") + json.dumps(conversation))
        out.write("]")
    assert file.stat().st_size > 30_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with file.open("rb") as opened:
        lines = list(importing.run(ann, opened, None))

    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 50_000_000
    assert lines[-1]["threads"] == 300
    positions = [line["bytes"] for line in lines if line["type"] == "progress"]
    assert positions == sorted(positions)
    assert all(line["of"] == file.stat().st_size for line in lines if line["type"] == "progress")


def test_progress_is_told_twice_a_second(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "PROGRESS_SECONDS", 0)

    lines = list(importing.run(ann, io.BytesIO(file_of(chat(1), chat(2))), None))

    assert [line["type"] for line in lines] == ["thread", "progress", "thread", "progress", "end"]


def test_a_conversation_is_stored_whole_or_not_at_all(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(parents: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(statements, "set_parents", fail)
    with pytest.raises(ZeroDivisionError):
        import_file(ann, file_of(chat(1)))

    assert not Thread.all_objects.exists()
    assert not Message.objects.exists()


def test_objects_keep_only_what_is_needed() -> None:
    mapping = {"any key": {"message": None, "b": 1}}
    content = [{"title": "x", "junk": {"a": [1, {"title": 2}]}, "mapping": mapping}]

    (item,) = reading.objects(io.BytesIO(json.dumps(content).encode()))

    assert item == {"title": "x", "mapping": {"any key": {"message": None}}}

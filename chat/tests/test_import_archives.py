"""Which archives can be imported, and what a hostile one may not do."""

import io
import json
import time
import zipfile
from typing import Any

import pytest

from accounts.models import User
from chat.models import Thread
from chat.tests.exports import chatgpt_chat, file_of, libre_message, librechat
from chat.transfer import archive, importing
from chat.transfer.reading import NotReadable
from testing.people import create_user


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


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_an_archive_is_unpacked_and_what_else_is_in_it_is_ignored(
    ann: User, compression: int
) -> None:
    content = zip_of(
        {
            "user.json": b"{}",
            "chat.html": b"<html>",
            "message_feedback.json": b"[]",
            "conversations.json": file_of(chat(1), chat(2)),
            "file-abc.png": bytes(1000),
        },
        compression,
    )

    lines = import_file(ann, content)

    assert [line["type"] for line in lines] == ["thread", "thread", "end"]


def test_conversations_in_numbered_files_are_read_in_their_order(ann: User) -> None:
    members = {
        f"export/conversations-{number:03}.json": file_of({**chat(number), "title": str(number)})
        for number in (10, 2, 0, 1)
    }

    *lines, _ = import_file(ann, zip_of({**members, "__MACOSX/._x.json": b"junk"}))

    assert [line["title"] for line in lines] == ["0", "1", "2", "10"]


def test_an_archive_of_any_json_files_is_read(ann: User) -> None:
    one = librechat(libre_message("q", True, "one"), conversationId="1")
    other = librechat(libre_message("q", True, "two"), conversationId="2")
    members = {
        "wool.json": json.dumps(one).encode(),
        "deep/in/it.json": json.dumps(other).encode(),
        "__MACOSX/wool.json": b"junk",
        ".hidden.json": b"junk",
        "readme.txt": b"junk",
    }

    *lines, _ = import_file(ann, zip_of(members))

    assert [line["type"] for line in lines] == ["thread", "thread"]


def broken(content: bytes) -> bytes:
    """Damage what is packed, and leave the directory as it is."""
    return content[:60] + b"\xff" * 40 + content[100:]


def encrypted(content: bytes) -> bytes:
    place = content.index(b"PK\x01\x02")
    return content[: place + 8] + b"\x01" + content[place + 9 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of({}), "no conversations.json"),
        (zip_of({"photo.png": b"x"}), "no conversations.json"),
        (zip_of({"a.json": b"[]"})[:-10], "its end is missing"),
        (b"PK\x03\x04" + b"x" * 1000, "its end is missing"),
        (b"PK\x05\x06" + b"\xff" * 18, "more than 65,000 files"),
        (broken(zip_of({"conversations.json": file_of(*map(chat, range(50)))})), "cannot be read"),
        (encrypted(zip_of({"conversations.json": b"[]"})), "encrypted"),
        (zip_of({"conversations.json": b"[" + b" " * 50_000_000}), "packed too tightly"),
        (zip_of({"inner.zip": zip_of({"conversations.json": b"[]"})}), "no conversations.json"),
    ],
)
def test_a_bad_archive_is_refused_at_once(ann: User, content: bytes, message: str) -> None:
    began = time.monotonic()

    with pytest.raises(NotReadable, match=message):
        import_file(ann, content)

    assert time.monotonic() - began < 2
    assert not Thread.objects.exists()


def test_an_archive_with_too_much_in_it_is_refused(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1000)
    monkeypatch.setattr(archive, "MAX_JSON_MEMBERS", 3)

    with pytest.raises(NotReadable, match="gibibyte"):
        import_file(ann, zip_of({"conversations.json": file_of(chat(1))}))
    with pytest.raises(NotReadable, match="JSON files"):
        import_file(ann, zip_of({f"{number}.json": b"[]" for number in range(4)}))


def test_a_size_that_the_archive_hides_is_not_read(ann: User) -> None:
    """The directory says a kilobyte, and there are fifty megabytes: reading stops after that."""
    honest = zip_of({"conversations.json": b"[" + b" " * 50_000_000 + b"]"})
    place = honest.index(b"PK\x01\x02")
    lying = honest[: place + 24] + (1000).to_bytes(4, "little") + honest[place + 28 :]

    began = time.monotonic()
    with pytest.raises(NotReadable):
        import_file(ann, lying)

    assert time.monotonic() - began < 2

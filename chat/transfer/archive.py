"""Opens a file that is to be imported: JSON, or a ZIP archive of JSON files."""

import io
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from chat.transfer.reading import BROKEN_ARCHIVE, NotReadable

MAX_UNPACKED = 1024 * 1024 * 1024  # bytes of all members that are read
MAX_RATIO = 100  # of unpacked to packed bytes; conversations stay below 20
RATIO_MATTERS_FROM = 1024 * 1024
MAX_MEMBERS = 65_000
MAX_DIRECTORY = 16 * 1024 * 1024  # bytes
MAX_JSON_MEMBERS = 5_000

CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:-(\d{1,6}))?\.json", re.IGNORECASE)
JSON = re.compile(r"(?!__MACOSX/)(?:.*/)?[^./][^/]*\.(?:json|ndjson|jsonl)", re.IGNORECASE)
END_OF_DIRECTORY = struct.Struct("<4s4H2LH")
LONGEST_COMMENT = 65_535
ENCRYPTED = 1


class Source:
    """A JSON file, or those in a ZIP archive, which are read one after the other.

    `size` is how many bytes they have. Raises `NotReadable`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._archive: zipfile.ZipFile | None = None
        self._members: list[zipfile.ZipInfo] = []
        self._open: IO[bytes] = file
        self._before = 0  # bytes of the members that were read
        file.seek(0)
        if file.read(4) in (b"PK\3\4", b"PK\5\6"):
            check_directory(file)
            with readable():
                self._archive = zipfile.ZipFile(file)
                self._members = chosen(self._archive.infolist())
            self.size = sum(member.file_size for member in self._members)
        else:
            file.seek(0, 2)
            self.size = file.tell()
            file.seek(0)

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._before + self._open.tell()

    def files(self) -> Iterator[IO[bytes]]:
        """Yield the files, each to be read before the next."""
        if self._archive is None:
            yield self._file
            return
        for member in self._members:
            with readable():
                self._open = self._archive.open(member)
            with self._open:
                yield self._open
            self._before += member.file_size
            self._open = io.BytesIO()


@contextmanager
def readable() -> Iterator[None]:
    """Raise `NotReadable` where an archive is broken, or packed in an unknown way."""
    try:
        yield
    except (*BROKEN_ARCHIVE, NotImplementedError) as error:
        raise NotReadable(f"The ZIP archive cannot be read: {error}") from None


def check_directory(file: IO[bytes]) -> None:
    """Raise `NotReadable` where the list of an archive's files is too long to be read."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - LONGEST_COMMENT - END_OF_DIRECTORY.size))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) - place < END_OF_DIRECTORY.size:
        raise NotReadable("The ZIP archive cannot be read: its end is missing.")
    *_, members, directory_size, _, _ = END_OF_DIRECTORY.unpack_from(tail, place)
    if members > MAX_MEMBERS or directory_size > MAX_DIRECTORY:
        raise NotReadable(f"The ZIP archive has more than {MAX_MEMBERS:,} files.")


def chosen(members: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the members with conversations, by their numbers. Raises `NotReadable`."""
    named = [(CONVERSATIONS.fullmatch(member.filename), member) for member in members]
    found = [
        member
        for match, member in sorted(
            ((match, member) for match, member in named if match),
            key=lambda pair: int(pair[0][1] or 0),
        )
    ] or [member for member in members if JSON.fullmatch(member.filename)]
    if not found:
        raise NotReadable("The ZIP archive has no conversations.json, and no other JSON.")
    if len(found) > MAX_JSON_MEMBERS:
        raise NotReadable(f"The ZIP archive has more than {MAX_JSON_MEMBERS:,} JSON files.")
    for member in found:
        if member.flag_bits & ENCRYPTED:
            raise NotReadable("The ZIP archive is encrypted.")
        is_bomb = member.file_size > MAX_RATIO * max(member.compress_size, 1)
        if is_bomb and member.file_size > RATIO_MATTERS_FROM:
            raise NotReadable(f"{member.filename} is packed too tightly to be a conversation.")
    if sum(member.file_size for member in found) > MAX_UNPACKED:
        raise NotReadable("What is packed in the ZIP archive has more than a gibibyte.")
    return found

"""Reads conversations from a file of any format, one at a time, so that its size does not matter.

Only what the formats need is kept of each, and no more than `MAX_VALUES` and `MAX_CHARACTERS`.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import ijson

from chat.transfer import chatgpt, librechat, open_webui, own
from chat.transfer.conversation import MAX_MESSAGES, ImportedThread, Skipped, title_of
from core.errors import ApiError

MAX_VALUES = 1_000_000  # of a conversation, as it is read
MAX_CHARACTERS = 32_000_000
MAX_EVENTS = 5_000_000  # from one conversation to the next, what is not kept included
MAX_DEPTH = 2 * MAX_MESSAGES + 100  # in LibreChat's files each answer is nested in its question
LONGEST_TEXT = 16 * 1024 * 1024  # bytes
PIECE = 64 * 1024
BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError)

# The keys of objects that are kept. Objects in `OPEN`, whose keys are ids, keep all of theirs.
OPEN = {"mapping", "messages", "options"}
KEYS = {
    *("title", "id", "key", "type", "format", "version"),
    # ChatGPT's
    *("create_time", "update_time", "mapping", "message", "author", "role", "content"),
    *("content_type", "parts", "text", "thoughts", "summary", "metadata", "model_slug"),
    *("is_visually_hidden_from_conversation", "recipient", "parent", "current_node"),
    *("default_model_slug", "conversation_id", "is_archived", "conversation_template_id"),
    # Open WebUI's
    *("chat", "models", "history", "currentId", "messages", "parentId", "model", "timestamp"),
    *("output", "files", "params", "system", "archived", "pinned", "created_at", "updated_at"),
    *("error",),
    # LibreChat's
    *("conversationId", "messagesTree", "options", "messageId", "parentMessageId", "children"),
    *("isCreatedByUser", "sender", "think", "value", "createdAt", "unfinished"),
    # Our own
    *("system_prompt", "title_is_given", "expires_at", "current_message_id", "parent_id"),
    *("thinking", "status", "error_code", "finish_reason", "usage", "context", "feedback"),
    *("prompt_tokens", "completion_tokens", "duration_ms", "first_token_ms", "turns_kept"),
    *("turns_dropped", "characters_cut", "tokens", "rating", "comment", "rated_at"),
}
FORMATS: tuple[Any, ...] = (chatgpt, open_webui, librechat)


class NotReadable(ApiError):
    """The file cannot be imported."""

    code = "not_importable"


class Found(NamedTuple):
    """A conversation, or why it is left out."""

    title: str
    thread: ImportedThread | Skipped


class TooLarge(NamedTuple):
    """An object with too much to keep; the title, if it was read before that."""

    title: str


class BoundedText:
    """A file that refuses texts longer than `LONGEST_TEXT`, which would slow the parser down."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._without_end = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises `NotReadable`."""
        if size == 0:
            return b""
        piece = self._file.read(size)
        # A text ends with a quotation mark that has no backslash.
        has_end = piece.count(b'"') > piece.count(b'\\"')
        self._without_end = 0 if has_end else self._without_end + len(piece)
        if self._without_end > LONGEST_TEXT:
            raise NotReadable("The file has more than 16 MiB without the end of a text.")
        return piece


def conversations(file: IO[bytes]) -> Iterator[Found]:
    """Yield the conversations of a file. Raises `NotReadable`."""
    thread: ImportedThread | None = None  # of our own, whose messages follow
    problem: Skipped | None = None
    title = ""
    is_ours = False
    for item in objects(file):
        if isinstance(item, TooLarge):
            yield Found(item.title, Skipped("too_large", "It is too large."))
        elif not isinstance(item, dict):
            yield Found("", Skipped("invalid", "It is no conversation."))
        elif item.get("format") == own.FORMAT and "version" in item:
            if not own.is_known(item):
                known = f"this server knows version {own.VERSION}"
                raise NotReadable(f"The file is of another version of the format: {known}.")
            is_ours = True
            if own.is_format(item):
                yield _found(item, own.read)
        elif is_ours or own.is_format(item):
            kind = item.get("type")
            if kind == "thread":
                if thread:
                    yield Found(title, Skipped("incomplete", "The file ends in the middle of it."))
                title, problem, thread = title_of(item.get("title")), None, None
                try:
                    thread = own.read(item)
                except Skipped as skipped:
                    yield Found(title, skipped)
            elif kind == "message" and thread and not problem:
                try:
                    own.add(thread, item)
                except Skipped as skipped:
                    problem = skipped
            elif kind == "thread_end" and thread:
                yield Found(title, problem or thread)
                thread = None
        else:
            reader = next((format for format in FORMATS if format.is_format(item)), None)
            if reader:
                yield _found(item, reader.read)
            else:
                reason = "It is of no format that is known here."
                yield Found(title_of(item.get("title")), Skipped("invalid", reason))
    if thread:
        yield Found(title, Skipped("incomplete", "The file ends in the middle of it."))


def _found(item: dict[str, Any], read: Callable[[dict[str, Any]], ImportedThread]) -> Found:
    title = title_of(item.get("title"))
    try:
        return Found(title, read(item))
    except Skipped as skipped:
        return Found(title, skipped)


def objects(file: IO[bytes]) -> Iterator[Any]:
    """Yield the values in a JSON file: the items of a list, or the values one after the other.

    Objects have of their keys those in `KEYS`. Raises `NotReadable`.
    """
    try:
        if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark, which is not JSON
            file.seek(0)
        events = ijson.basic_parse(
            BoundedText(file), use_float=True, multiple_values=True, buf_size=PIECE
        )
        yield from _values(events)
    except BROKEN_ARCHIVE as error:
        raise NotReadable(f"The ZIP archive cannot be read: {error}") from None
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise NotReadable(f"The file is not valid JSON: {reason}") from None


def _values(events: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    """Yield the values that the events build; without recursion, as they may be too deep for it."""
    stack: list[Any] = []  # the containers that are open, of the object that is built
    keys: list[str] = []  # for each of them: the key that the next value has
    has_all_keys: list[bool] = []
    depth = item_depth = skipped_depth = values = characters = since_beginning = 0
    skips_next = False
    too_large: TooLarge | None = None
    for event, value in events:
        since_beginning += 1
        if since_beginning > MAX_EVENTS:
            raise NotReadable(f"A conversation has more than {MAX_EVENTS:,} values.")
        if event == "map_key":
            if not skipped_depth:
                keys[-1] = value
                skips_next = not has_all_keys[-1] and value not in KEYS
            continue
        if event in ("start_map", "start_array"):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotReadable("The file is nested too deeply.")
            if skipped_depth or (depth == 1 and event == "start_array"):
                continue
            if skips_next:
                skipped_depth, skips_next = depth, False
                continue
            container: Any = {} if event == "start_map" else []
            if stack:
                _add(stack[-1], keys[-1], container)
            else:
                item_depth, values, characters, since_beginning = depth, 0, 0, 0
            has_all_keys.append(bool(stack) and event == "start_map" and keys[-1] in OPEN)
            stack.append(container)
            keys.append("")
            values += 1
        elif event in ("end_map", "end_array"):
            depth -= 1
            if skipped_depth:
                if depth < skipped_depth:
                    skipped_depth = 0
                    if too_large:
                        yield too_large
                        too_large = None
            elif stack:
                done = stack.pop()
                keys.pop()
                has_all_keys.pop()
                if not stack:
                    yield done
        elif skips_next:
            skips_next = False
        elif not skipped_depth:
            if not stack:
                yield value
                continue
            _add(stack[-1], keys[-1], value)
            values += 1
            if isinstance(value, str):
                characters += len(value)
        if stack and (values > MAX_VALUES or characters > MAX_CHARACTERS):
            title = stack[0].get("title") if isinstance(stack[0], dict) else ""
            too_large, skipped_depth = TooLarge(title_of(title)), item_depth
            stack, keys, has_all_keys = [], [], []


def _add(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container.append(value)

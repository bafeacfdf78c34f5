"""An imported conversation of any format: what comes along, and what is too much."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any, NamedTuple

from chat.models import MessageStatus, Sender, Thread

MAX_MESSAGES = 20_000  # of a thread
MAX_CHARACTERS = 1_000_000  # of a message
MAX_SYSTEM_PROMPT = 20_000
FILES, OTHERS = "images and files", "system and tool messages"  # kinds of what is left out
SENDERS = {"user": Sender.USER, "assistant": Sender.BOT}  # by their role in other programs
ONLY_FILES = "[image or file]"  # in place of a question that has no text
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS = 10**11  # from here on; times in seconds stay below it for 3,000 years
LATEST = datetime(3000, 1, 1, tzinfo=UTC)


class Skipped(Exception):
    """A conversation is left out: a code, and the reason in a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


@dataclass(slots=True)
class ImportedMessage:
    """A message with the ids it has in the file; `fields` are further columns of its row."""

    id: str
    parent_id: str | None
    sender: Sender
    content: str
    created_at: datetime | None = None
    thinking: str = ""
    model: str = ""
    status: MessageStatus = MessageStatus.COMPLETE
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ImportedThread:
    """A conversation with its messages, each after its parent.

    `key` identifies it where it comes from, `left_out` counts by kind what does not come along, and
    `fields` are further columns of its row. One in our own format is stored as it was.
    """

    key: str
    is_ours: bool = False
    title: str = ""
    model: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    messages: list[ImportedMessage] = field(default_factory=list)
    current_id: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    fields: dict[str, Any] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)  # of the messages, in formats that need it

    @property
    def digest(self) -> str:
        """A hash of all that is said, by whom and in answer to what."""
        digest = sha256()
        numbers: dict[str | None, int] = {None: -1}
        for number, message in enumerate(self.messages):
            said = numbers[message.parent_id], message.sender.value, message.content
            digest.update(repr(said).encode())
            numbers[message.id] = number
        return digest.hexdigest()[:32]

    def check(self) -> None:
        """Raise `Skipped` where there is too much to import."""
        if len(self.messages) > MAX_MESSAGES:
            raise Skipped("too_large", f"It has more than {MAX_MESSAGES:,} messages.")
        for message in self.messages:
            if max(len(message.content), len(message.thinking)) > MAX_CHARACTERS:
                reason = f"A message has more than {MAX_CHARACTERS:,} characters."
                raise Skipped("too_large", reason)
        if len(self.fields.get("system_prompt") or "") > MAX_SYSTEM_PROMPT:
            reason = f"Its system prompt has more than {MAX_SYSTEM_PROMPT:,} characters."
            raise Skipped("too_large", reason)


@dataclass(slots=True)
class Node:
    """A piece of a conversation in a format that makes a tree of them, not all of them messages.

    What follows a piece without a message follows the message above it; its `thinking` belongs to
    the next answer.
    """

    parent_id: str | None
    message: ImportedMessage | None = None
    thinking: str = ""


class _Place(NamedTuple):
    """A piece to be added: after which message, with which thoughts, and whether as all of it."""

    moment: float
    number: int
    id: str
    above: ImportedMessage | None
    thinking: str
    is_alone: bool


def arrange(thread: ImportedThread, nodes: Mapping[str, Node], current_id: str | None) -> None:
    """Add the messages of a tree to a thread: each after its parent, and else as they were made.

    An answer in several pieces, which nothing else follows, becomes one message. What follows
    itself is no part of the tree.
    """
    children: dict[str | None, list[str]] = {}
    for id, node in nodes.items():
        children.setdefault(node.parent_id if node.parent_id in nodes else None, []).append(id)
    numbers = {id: number for number, id in enumerate(nodes)}
    placed: dict[str, ImportedMessage | None] = {}
    waiting: list[_Place] = []

    def wait_for_children(id: str | None, before: _Place) -> None:
        followers = children.get(id, [])
        for follower in followers:
            message = nodes[follower].message
            moment = message.created_at.timestamp() if message and message.created_at else 0.0
            heappush(
                waiting,
                before._replace(
                    moment=max(before.moment, moment),
                    number=numbers[follower],
                    id=follower,
                    is_alone=before.is_alone and len(followers) == 1,
                ),
            )

    wait_for_children(None, _Place(0.0, 0, "", None, "", True))
    while waiting:
        place = heappop(waiting)
        node, above = nodes[place.id], place.above
        thinking = joined(place.thinking, node.thinking)
        message = node.message
        if message is None:
            place = place._replace(thinking=thinking)
        else:
            message.thinking = joined(thinking, message.thinking)
            is_more = place.is_alone and above is not None and above.sender == message.sender
            if above is not None and is_more and message.sender == Sender.BOT:
                above.content = joined(above.content, message.content)
                above.thinking = joined(above.thinking, message.thinking)
                above.model, above.status = message.model or above.model, message.status
                message = above
            else:
                message.parent_id = above.id if above else None
                thread.messages.append(message)
            place = place._replace(above=message, thinking="", is_alone=True)
        placed[place.id] = place.above
        wait_for_children(place.id, place)
    if lost := sum(1 for id, node in nodes.items() if node.message and id not in placed):
        thread.left_out["messages that follow themselves"] += lost
    current = placed.get(current_id or "")
    thread.current_id = current.id if current else None


def joined(one: str, other: str) -> str:
    """Return two texts, one below the other."""
    return f"{one}\n\n{other}" if one and other else one or other


# --- Values that may be anything -----------------------------------------------------------------


def text_of(value: object) -> str:
    """Return a text without characters that a database refuses; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def short_text_of(value: object, length: int) -> str:
    """Return a text as one line, cut to a length."""
    return " ".join(text_of(value)[: 10 * length].split())[:length].strip()


def title_of(value: object) -> str:
    """Return a thread's title."""
    return short_text_of(value, Thread.TITLE_LENGTH)


def moment_of(value: object) -> datetime | None:
    """Return the time that a value gives in seconds, milliseconds or ISO 8601, or None."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) > MILLISECONDS else value
            moment = EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return moment if EPOCH <= moment < LATEST else None


def dict_of(value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """Return the value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def id_of(value: object) -> str | None:
    """Return an id as text, or None if the value is no id."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value)[:200]


def key_of(*parts: object) -> str:
    """Return what identifies a conversation, as it is stored."""
    return sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:32]

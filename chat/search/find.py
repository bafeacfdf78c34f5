"""Finds a user's messages and titles: the best first, and the newest first among equals.

The index tells which texts may have all words. They are read and rated in batches, the newest
first: so a page costs the same for somebody with a million messages, and "best" means of the newest
`BATCH` hits, then of those before them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from accounts.models import User
from chat.models import Message, Thread
from chat.search import database, index
from chat.search.database import Candidate
from chat.search.query import Query, parse
from chat.search.snippets import snippet_of
from chat.search.words import fold
from core import paging

BATCH = 500  # texts
BATCH_CHARACTERS = 2_000_000
MAX_BATCHES = 4  # in one call, if few of the texts are hits
NO_BOUND = 2**63 - 1
LIST = "search"


class Result(NamedTuple):
    """A text that was found; a title has neither a message's id nor a sender."""

    thread_id: int
    title: str
    message_id: int | None
    sender: str | None
    created_at: datetime
    snippet: str
    highlights: list[list[int]]


@dataclass(frozen=True)
class Hit:
    """A text with all parts of the query."""

    score: int
    created_at: datetime
    message_id: int | None
    sender: str | None
    thread_id: int
    title: str
    text: str

    @property
    def rank(self) -> tuple[int, ...]:
        """What hits are sorted by; it is the same whenever it is asked for."""
        moment = int(self.created_at.timestamp() * 1_000_000)
        return -self.score, -moment, -(self.message_id or 0), -self.thread_id


class Batch(NamedTuple):
    """The hits among some texts, the best first.

    `messages_below` and `titles_below` bound the ids of the texts, and `next` has those of the next
    batch; None where this is the last.
    """

    messages_below: int
    titles_below: int
    hits: Sequence[Hit]
    next: tuple[int, int] | None


def find(user: User, text: str, limit: int, cursor: str) -> tuple[list[Result], str | None]:
    """Return up to `limit` results, and the next cursor.

    There may be fewer although more follow, where many texts had to be read for them. Raises
    `ApiError` for a cursor that is not of this search.
    """
    query = parse(text)
    owner = f"search of {user.pk} for {sha256(text.encode()).hexdigest()}"
    bounds: tuple[int, int] = (NO_BOUND, NO_BOUND)
    after: tuple[int, ...] = ()
    if cursor:
        messages_below, titles_below, *rank = paging.decode(cursor, owner)
        bounds, after = (messages_below, titles_below), tuple(rank)
    if not query.parts:
        return [], None
    index.catch_up(user)
    found: list[tuple[Batch, Hit]] = []
    for _ in range(MAX_BATCHES):
        batch = read_batch(user, query, *bounds)
        found += [(batch, hit) for hit in batch.hits if hit.rank > after or not after]
        if len(found) > limit:
            last, hit = found[limit - 1]
            next_key: Sequence[int] | None = (last.messages_below, last.titles_below, *hit.rank)
            break
        next_key, after = batch.next, ()
        if batch.next is None:
            break
        bounds = batch.next
    results = [_result(hit, query) for _, hit in found[:limit]]
    return results, paging.encode(next_key, owner) if next_key else None


def read_batch(user: User, query: Query, messages_below: int, titles_below: int) -> Batch:
    """Read the newest texts below these ids that may be hits, and rate them."""
    messages, next_message = _within_budget(
        database.message_candidates(user.pk, query, messages_below, BATCH)
    )
    titles, next_title = _within_budget(
        database.title_candidates(user.pk, query, titles_below, BATCH)
    )
    hits = [*_messages(messages, query), *_titles(titles, query)]
    return Batch(
        # Bounds that hold for the next page too, whatever is written meanwhile.
        messages[0].pk + 1 if messages else 0,
        titles[0].pk + 1 if titles else 0,
        sorted(hits, key=lambda hit: hit.rank),
        (next_message, next_title) if next_message or next_title else None,
    )


def _within_budget(candidates: Sequence[Candidate]) -> tuple[Sequence[Candidate], int]:
    """Return the first candidates, not too much to read, and the bound of the next; 0 for none."""
    characters = 0
    for number, candidate in enumerate(candidates):
        characters += candidate.length or 0
        if number and characters > BATCH_CHARACTERS:
            return candidates[:number], candidates[number - 1].pk
    return candidates, candidates[-1].pk if len(candidates) == BATCH else 0


def _messages(candidates: Sequence[Candidate], query: Query) -> Iterator[Hit]:
    messages = Message.objects.filter(pk__in=_visible(candidates))
    for created_at, pk, sender, thread_id, title, text in messages.values_list(
        "created_at", "pk", "sender", "thread_id", "thread__title", "content"
    ):
        score = query.score(fold(text))
        if score is not None:
            yield Hit(score, created_at, pk, sender, thread_id, title, text)


def _titles(candidates: Sequence[Candidate], query: Query) -> Iterator[Hit]:
    threads = Thread.objects.filter(pk__in=_visible(candidates))
    for created_at, pk, title in threads.values_list("created_at", "pk", "title"):
        score = query.score(fold(title), is_title=True)
        if score is not None:
            yield Hit(score, created_at, None, None, pk, title, title)


def _visible(candidates: Sequence[Candidate]) -> list[int]:
    return [candidate.pk for candidate in candidates if candidate.length is not None]


def _result(hit: Hit, query: Query) -> Result:
    snippet, highlights = snippet_of(hit.text, query)
    return Result(
        hit.thread_id,
        hit.title,
        hit.message_id,
        hit.sender,
        hit.created_at,
        snippet,
        highlights,
    )

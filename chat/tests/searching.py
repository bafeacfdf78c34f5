"""What the tests of the search share: texts, and what is found of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from accounts.models import User
from chat.models import Message, MessageTerms, Sender, Thread, TitleTerms
from chat.search import find as search
from chat.search import index
from chat.search.find import Result
from core import sql

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def write(thread: Thread, *texts: str, **fields: Any) -> list[int]:
    """Store messages, a minute apart; return their ids."""
    return [
        Message.objects.create(
            thread=thread,
            content=text,
            **{
                "sender": Sender.USER,
                "created_at": NOON + timedelta(minutes=number),
                **fields,
            },
        ).pk
        for number, text in enumerate(texts)
    ]


def write_now(thread: Thread, *texts: str) -> list[Message]:
    """Store messages of this moment; return them."""
    return [
        Message.objects.create(thread=thread, sender=Sender.USER, content=text) for text in texts
    ]


def find(user: User, text: str, limit: int = 100) -> list[Result]:
    """Return everything that a search finds."""
    results, cursor = search.find(user, text, limit, "")
    assert cursor is None
    return results


def ids(user: User, text: str) -> list[int | None]:
    """Return the ids of the messages that a search finds, the best first."""
    return [result.message_id for result in find(user, text)]


def found(user: User, text: str) -> int:
    """Return how many results a search has."""
    return len(find(user, text))


def marked(result: Result) -> list[str]:
    """Return what is highlighted in a result's snippet."""
    return [result.snippet[start:end] for start, end in result.highlights]


def index_all() -> None:
    """Index all that is queued."""
    while index.index_some():
        pass


def check_index() -> None:
    """Assert that the index has what the tables of terms have, and these what the texts have."""
    if connection.vendor == "sqlite":
        for table in ("chat_messageterms", "chat_titleterms"):
            # It raises an error where they differ.
            check = f"INSERT INTO {table}_index ({table}_index, rank) VALUES (%s, 1)"  # noqa: S608
            sql.execute(check, "integrity-check")
    texts = Message.objects.exclude(status="generating").values_list("pk", "content")
    expected = {pk: index.terms_of(text) for pk, text in texts if index.terms_of(text)}
    assert dict(MessageTerms.objects.values_list("pk", "terms")) == expected
    titles = Thread.all_objects.values_list("pk", "title")
    expected = {pk: index.terms_of(text) for pk, text in titles if index.terms_of(text)}
    assert dict(TitleTerms.objects.values_list("pk", "terms")) == expected

"""The search's SQL beside its twins: the ORM's, and a plain search in Python of all texts."""

import random
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from chat.models import Message, MessageTerms, Sender, Thread, TitleTerms, UnindexedText
from chat.search import database
from chat.search import find as search
from chat.search.database import Candidate
from chat.search.query import Query, parse
from chat.tests.searching import index_all
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")

WORDS = [
    "a",
    "al",
    "alpaca",
    "alpacas",
    "alpine",
    "ann",
    "b",
    "llama",
    "llamas",
    "lla",
    "été",
    "羊",
]
QUERIES = ["a", "al", "alp", "alpaca ", "alpacas", "l", "lla ", "llama b", "b a", "ete", "羊"]
PHRASE = "ann:a"


@pytest.fixture(params=range(3))
def users(request: pytest.FixtureRequest, each_database: None) -> list[User]:
    """Three users with texts of a few words; some threads are deleted, expired or hidden."""
    dice = random.Random(request.param)  # noqa: S311

    def text() -> str:
        return " ".join(dice.choices(WORDS, k=dice.randint(0, 4)))

    users = [create_user(name) for name in ("ann", "bob", "cat")]
    past, future = (timezone.now() + timedelta(hours=hours) for hours in (-1, 1))
    for number in range(24):
        thread = Thread.objects.create(
            user=users[number % 3],
            model="tiny",
            title=text(),
            expires_at=dice.choice([None, None, past, future]),
            deleted_at=dice.choice([None, None, None, past]),
        )
        Message.objects.bulk_create(
            Message(thread=thread, sender=Sender.USER, content=text()) for _ in range(4)
        )
    index_all()
    return users


def stored(query: Query, terms: str) -> bool:
    """Return whether the terms of a text have the beginnings of all words of a query."""
    length, found = database.term_length(), terms.split()
    for part in query.parts:
        *whole, last = part.words
        if not {word[:length] for word in whole} <= set(found):
            return False
        if part.unfinished and not any(term.startswith(last[:length]) for term in found):
            return False
        if not part.unfinished and last[:length] not in found:
            return False
    return True


def is_visible(thread: Thread, user: User) -> bool:
    is_living = thread.expires_at is None or thread.expires_at > timezone.now()
    return thread.user_id == user.pk and thread.deleted_at is None and is_living


def length_of(text: str) -> int:
    """Return a text's length as the statements count it: in characters, or in bytes."""
    is_in_bytes = database.term_length() == database.TERM_LENGTH["postgresql"]
    return len(text.encode()) if is_in_bytes else len(text)


@pytest.mark.parametrize("text", [*QUERIES, PHRASE])
def test_message_candidates(users: list[User], text: str) -> None:
    query = parse(text)
    for user in users:
        rows = MessageTerms.objects.filter(user_id=user.pk).order_by("-pk")
        expected = [
            Candidate(row.pk, length_of(row.message.content) if is_visible(thread, user) else None)
            for row in rows
            if stored(query, row.terms)
            for thread in [Thread.all_objects.get(pk=row.message.thread_id)]
        ]

        assert database.message_candidates(user.pk, query, 2**62, 1000) == expected
        middle = expected[len(expected) // 2].pk if expected else 1
        below = [candidate for candidate in expected if candidate.pk < middle]
        assert database.message_candidates(user.pk, query, middle, 2) == below[:2]


@pytest.mark.parametrize("text", [*QUERIES, PHRASE])
def test_title_candidates(users: list[User], text: str) -> None:
    query = parse(text)
    for user in users:
        rows = TitleTerms.objects.filter(user_id=user.pk).order_by("-pk")
        expected = [
            Candidate(thread.pk, length_of(thread.title) if is_visible(thread, user) else None)
            for row in rows
            if stored(query, row.terms)
            for thread in [Thread.all_objects.get(pk=row.pk)]
        ]

        assert database.title_candidates(user.pk, query, 2**62, 1000) == expected
        assert database.title_candidates(user.pk, query, 2**62, 1) == expected[:1]


@pytest.mark.parametrize("text", QUERIES)
def test_a_search_finds_what_reading_every_text_finds(users: list[User], text: str) -> None:
    def has_all_words(content: str) -> bool:
        plain = content.replace("été", "ete")
        *whole, last = re.findall(r"\w+", text)
        end = "" if text[-1].isalnum() and last != "羊" else r"\b"
        return all(re.search(rf"\b{word}\b", plain) for word in whole) and bool(
            re.search(rf"\b{last}{end}", plain)
        )

    for user in users:
        found = search.find(user, text, 1000, "")[0]
        threads = Thread.objects.filter(user=user)
        messages = Message.objects.filter(thread__in=threads)

        assert {r.message_id for r in found if r.message_id} == {
            message.pk for message in messages if has_all_words(message.content)
        }
        assert {r.thread_id for r in found if not r.message_id} == {
            thread.pk for thread in threads if has_all_words(thread.title)
        }


def queued_by(change: Callable[[], None]) -> list[tuple[int, int | None]]:
    """Return what something queues, and undo it."""
    with transaction.atomic():
        change()
        queued = list(UnindexedText.objects.values_list("thread_id", "message_id"))
        transaction.set_rollback(True)
    assert queued
    return sorted(queued, key=str)


def test_queue_messages(users: list[User]) -> None:
    ids = list(Message.objects.order_by("pk").values_list("pk", flat=True))
    Message.objects.filter(pk=ids[10]).update(status="generating")
    UnindexedText.objects.all().delete()
    first, last = ids[5], ids[20]

    def twin() -> None:
        ended = Message.objects.exclude(status="generating").filter(pk__gt=first, pk__lte=last)
        for pk, thread_id in ended.order_by("pk").values_list("pk", "thread_id"):
            UnindexedText.objects.create(thread_id=thread_id, message_id=pk)

    assert queued_by(lambda: database.queue_messages(first, last)) == queued_by(twin)


def test_queue_titles(users: list[User]) -> None:
    ids = list(Thread.all_objects.order_by("pk").values_list("pk", flat=True))

    def twin() -> None:
        titled = Thread.all_objects.exclude(title="").filter(pk__gt=ids[2], pk__lte=ids[9])
        for pk in titled.order_by("pk").values_list("pk", flat=True):
            UnindexedText.objects.create(thread_id=pk)

    assert queued_by(lambda: database.queue_titles(ids[2], ids[9])) == queued_by(twin)

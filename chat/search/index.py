"""Keeps the search index: takes texts from the queue that the triggers fill.

A text is in the queue until its terms are stored, in the same transaction: a process that dies at
any moment leaves nothing half, and whoever comes next goes on. A search first indexes what its user
has just written, so that it finds it at once.
"""

import asyncio
import contextvars
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import Error as DatabaseError
from django.db import IntegrityError, OperationalError, models, transaction
from django.db.models import QuerySet

from accounts.models import User
from chat.models import Message, MessageTerms, Thread, TitleTerms, UnindexedText
from chat.search import database
from chat.search.words import fold, split_words
from core.database import in_background, writers

BATCH = 50  # texts in one transaction, for which SQLite's other writers wait some milliseconds
RECENT = 1_000  # queued texts among which a search looks for those of its user
CATCH_UP_BATCHES = 4
DELAY_SECONDS = 1.0  # in which more texts may come
PAUSE_SECONDS = 0.05
MAX_TERMS = 20_000  # of a text: PostgreSQL takes no more than a megabyte of them
REBUILD_BATCH = 1_000

logger = logging.getLogger(__name__)


def terms_of(text: str) -> str:
    """Return the terms of a text, separated by spaces; empty where it has no word."""
    length = database.term_length()
    terms = {word[:length] for word in split_words(fold(text))}
    return " ".join(sorted(terms)[:MAX_TERMS])


def index_some(limit: int = BATCH) -> int:
    """Index up to `limit` texts of the queue; return how many rows of it were done with."""
    return _index(UnindexedText.objects.order_by("pk")[:limit])


def catch_up(user: User) -> None:
    """Index what a user has written just now, unless it takes long."""
    for _ in range(CATCH_UP_BATCHES):
        recent = UnindexedText.objects.order_by("-pk").values_list("pk", "thread_id")[:RECENT]
        queued = dict(recent)
        if not queued:
            return
        threads = Thread.objects.filter(user=user, pk__in=set(queued.values()))
        theirs = set(threads.values_list("pk", flat=True))
        rows = sorted(pk for pk, thread in queued.items() if thread in theirs)[:BATCH]
        try:
            if not _index(UnindexedText.objects.filter(pk__in=rows)):
                return
        except OperationalError as error:  # such as a deadlock with a deletion
            logger.warning("What user %s has just written was not indexed: %s", user.pk, error)
            return


def _index(queued: QuerySet[UnindexedText]) -> int:
    rows = list(queued.values_list("pk", "thread_id", "message_id"))
    if not rows:
        return 0
    messages = {message for _, _, message in rows if message is not None}
    titles = {thread for _, thread, message in rows if message is None}
    # Read before the transaction, in which SQLite lets nobody else write.
    message_texts = Message.objects.filter(pk__in=messages).order_by("pk")
    message_terms = [
        MessageTerms(message_id=pk, user_id=user_id, terms=terms_of(text))
        for pk, user_id, text in message_texts.values_list("pk", "thread__user_id", "content")
    ]
    title_texts = Thread.all_objects.filter(pk__in=titles).order_by("pk")
    title_terms = [
        TitleTerms(thread_id=pk, user_id=user_id, terms=terms_of(text))
        for pk, user_id, text in title_texts.values_list("pk", "user_id", "title")
    ]
    try:
        with transaction.atomic():
            done, _ = UnindexedText.objects.filter(pk__in=[pk for pk, _, _ in rows]).delete()
            if done == len(rows):
                _store(title_texts, title_terms, TitleTerms, titles)
                _store(message_texts, message_terms, MessageTerms, messages)
            else:  # somebody else has read them as well, and may have stored a newer text
                transaction.set_rollback(True)
    except IntegrityError:
        pass  # one of them was deleted just now, as the next try will see
    return len(rows)


def _store(
    texts: QuerySet[Any], terms: Sequence[Any], model: type[models.Model], ids: set[int]
) -> None:
    """Store the terms of the texts that are still there, and remove those of the others.

    The texts are locked first, as by their deletion, which takes their terms with them.
    """
    locked = texts.select_for_update(no_key=True)
    left = set(locked.values_list("pk", flat=True))
    stored = [row for row in terms if row.pk in left and row.terms]
    model._base_manager.filter(pk__in=ids - {row.pk for row in stored}).delete()
    model._base_manager.bulk_create(
        stored,
        update_conflicts=True,
        unique_fields=[model._meta.pk.name],
        update_fields=["terms"],
    )


def rebuild() -> Iterator[tuple[int, int]]:
    """Index all texts again, while the server runs; yield how many are done, and of how many.

    What is found stays found. Where the process dies, the server does what it has queued.
    """
    database.install()
    messages, threads = Message.objects.order_by("pk"), Thread.all_objects.order_by("pk")
    done, total = 0, messages.count() + threads.count()
    for rows, queue in ((threads, database.queue_titles), (messages, database.queue_messages)):
        newest, after = rows.values_list("pk", flat=True).last() or 0, 0
        while after < newest:
            ids = list(rows.filter(pk__gt=after).values_list("pk", flat=True)[:REBUILD_BATCH])
            if not ids:  # the newest were deleted meanwhile
                break
            until = ids[-1]
            queue(after, until)
            while index_some():
                pass
            done, after = done + len(ids), until
            yield done, max(done, total)


class Indexer:
    """Indexes what replies leave in the queue, in the background of a process that writes them."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Have the queue indexed in a moment; to be called in the event loop's thread."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        await asyncio.sleep(DELAY_SECONDS)  # in which more may come, for one transaction
        try:
            while await in_background(writers, index_some):  # noqa: ASYNC110 - by all processes
                await asyncio.sleep(PAUSE_SECONDS)
        except DatabaseError as error:
            logger.error("Texts were not indexed, the next try follows: %s", error)


indexer = Indexer()
"""This process's."""

"""Search: its time among a million messages, the size of its index, and what a send pays for it.

On SQLite and on PostgreSQL, 1,000 users have 1,000 messages each, stored in turn as if all wrote at
the same time, as long as people and models write them. Users search for words that they have
written, for their beginnings and for phrases. Sends are timed in turn with and without the index.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate, product
from urllib.parse import urlencode

from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Model

from benchmarks.readers import client, read, require_whole, send
from benchmarks.result import Result, note, percentile, run_alone
from benchmarks.world import MODEL, Person, World, create_people, run, world

# isort: split
from accounts.models import User
from chat.models import Message, MessageTerms, Sender, Thread, TitleTerms
from chat.search import database, index
from core import sql

WHAT = "search"
P50_LIMIT, P99_LIMIT = 0.030, 0.150
SIZE_LIMIT = 1.2
SEND_LIMIT = 0.05
GOAL = (
    "p50 at most 30 ms, p99 150 ms; the index at most 1.2 times the text; a send at most 5 % slower"
)

USERS, MESSAGES, DIFFERENT = 1_000, 1_000, 20  # how many users have texts of their own
QUICK_USERS, QUICK_MESSAGES = 20, 100
MESSAGES_OF_A_THREAD = 20
ASKING = 25  # users who search
VOCABULARY = 15_000
TOKENS = 20
TABLES = ("chat_messageterms", "chat_titleterms")
NOTHING_FOUND = '{"results":[],"next":null}'


def measure(quick: bool = False) -> Result:
    """Search and send on both databases."""
    parts, is_met = [], True
    for on_postgresql in (False, True):
        name = "PostgreSQL" if on_postgresql else "SQLite"
        with world(tokens=TOKENS, interval=0.001, on_postgresql=on_postgresql) as here:
            people = fill(*(QUICK_USERS, QUICK_MESSAGES) if quick else (USERS, MESSAGES))
            size = size_of_index() / size_of_text()
            note(f"{name}: the index has {size:.2f} times the size of the text")
            queries = queries_of(people, 50 if quick else 1_000)
            times = run(all_search(here, queries))
        p50, p99 = percentile(times, 50), percentile(times, 99)
        slower = compare_sends(on_postgresql, 20 if quick else 400)
        parts.append(
            f"{name}: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, index {size:.2f}, "
            f"send {slower:+.1%}"
        )
        note(parts[-1])
        is_met &= p50 <= P50_LIMIT and p99 <= P99_LIMIT
        is_met &= size <= SIZE_LIMIT and slower <= SEND_LIMIT
    return Result("; ".join(parts), is_met)


# --- The texts -----------------------------------------------------------------------------------


class Language:
    """Made-up words that are as frequent and as long as those of English texts.

    1,000 messages of the manuals of Vim and Perl have 126,000 words, 9,500 of them different, and
    62 different ones in a message: of these there are as many here.
    """

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        syllables = ["".join(pair) for pair in product("bcdfghjklmnprstvwz", "aeiou")]
        words: dict[str, None] = {}
        while len(words) < VOCABULARY:
            number = 1 + bisect((40, 400, 5_000), len(words))  # frequent words are short
            end = dice.choice(("", "", "n", "s", "t", "r"))
            words["".join(dice.choices(syllables, k=number)) + end] = None
        self._words = list(words)
        self._weights = list(accumulate((rank + 2.7) ** -1.05 for rank in range(len(words))))

    def text(self, characters: int) -> str:
        """Return a text of about this many `characters`, half of it about a few things."""
        number = characters // 6 + 2
        topic = self._choose(25)
        words = self._choose(number // 2) + self.dice.choices(topic, k=number // 2)
        self.dice.shuffle(words)
        sentences = [
            " ".join(words[start : start + 12]).capitalize() for start in range(0, len(words), 12)
        ]
        return ". ".join(sentences) + "."

    def message(self, sender: Sender) -> str:
        """Return a message as long as people and models write them."""
        middle, spread = (4.3, 0.9) if sender == Sender.USER else (7.0, 0.8)
        return self.text(int(self.dice.lognormvariate(middle, spread)))

    def _choose(self, number: int) -> list[str]:
        return self.dice.choices(self._words, cum_weights=self._weights, k=number)


# --- The database --------------------------------------------------------------------------------


def fill(users: int, messages: int) -> list[Person]:
    """Store the messages with their terms, and make the index; return who will search.

    Users and threads are stored in turn, and so are messages: the first of each user, then the
    second of each.
    """
    drop_index()
    language = Language(random.Random(1))  # noqa: S311
    asking = create_people(min(ASKING, users), threads=0)
    User.objects.bulk_create(
        User(username=f"other-{number}", email=f"{number}@example.org")
        for number in range(users - len(asking))
    )
    first, *_, last = User.objects.order_by("pk").values_list("pk", flat=True)
    if last - first != users - 1:
        raise RuntimeError("the users are not numbered in a row")
    different = min(DIFFERENT, users)
    with transaction.atomic():
        for number in range(messages):
            store(language, first, users, different, number)
        copies = users // different - 1
        for table, columns in (
            (Thread, ("id", "user_id")),
            (TitleTerms, ("thread_id", "user_id")),
            (Message, ("id", "thread_id", "parent_id")),
            (MessageTerms, ("message_id", "user_id")),
        ):
            copy(table, columns, different, copies)
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(no_style(), [Thread, Message]):
                cursor.execute(statement)
    make_index()
    connection.close()
    return asking


def store(language: Language, first: int, users: int, different: int, number: int) -> None:
    """Store the message of this number of the users whose texts are different."""
    thread = 1 + number // MESSAGES_OF_A_THREAD * users
    message = 1 + number * users
    begins_thread = number % MESSAGES_OF_A_THREAD == 0
    if begins_thread:
        titles = [language.text(30) for _ in range(different)]
        Thread.objects.bulk_create(
            Thread(pk=thread + i, user_id=first + i, model=MODEL, title=title)
            for i, title in enumerate(titles)
        )
        TitleTerms.objects.bulk_create(
            TitleTerms(thread_id=thread + i, user_id=first + i, terms=index.terms_of(title))
            for i, title in enumerate(titles)
        )
    sender = Sender.BOT if number % 2 else Sender.USER
    texts = [language.message(sender) for _ in range(different)]
    Message.objects.bulk_create(
        Message(
            pk=message + i,
            thread_id=thread + i,
            parent_id=None if begins_thread else message + i - users,
            sender=sender,
            content=text,
        )
        for i, text in enumerate(texts)
    )
    MessageTerms.objects.bulk_create(
        MessageTerms(message_id=message + i, user_id=first + i, terms=index.terms_of(text))
        for i, text in enumerate(texts)
    )


def copy(model: type[Model], moved: Sequence[str], distance: int, copies: int) -> None:
    """Copy all rows for other users, whose numbers in the `moved` columns are `distance` on."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    names = ", ".join(map(connection.ops.quote_name, columns))
    values = ", ".join(
        f"{name} + n * {distance}" if name in moved else connection.ops.quote_name(name)
        for name in columns
    )
    table, key = model._meta.db_table, model._meta.pk.column if model._meta.pk else ""
    sql.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)"  # noqa: S608
        f" INSERT INTO {table} ({names}) SELECT {values} FROM {table} CROSS JOIN numbers"
        f" WHERE n <= %s ORDER BY {key}, n",
        copies,
        copies,
    )


def drop_index() -> None:
    """Remove the index, and the triggers that queue what is written."""
    if connection.vendor == "sqlite":
        for name in sql.column("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            sql.execute(f"DROP TRIGGER {name}")
        for table in TABLES:
            sql.execute(f"DROP TABLE {table}_index")
    else:
        sql.execute("DROP FUNCTION chat_queue_message, chat_queue_title CASCADE")
        for table in TABLES:
            sql.execute(f"DROP INDEX {table}_index")


def make_index() -> None:
    """Make the index of the terms that are stored.

    In many steps, as it grows where messages come one by one: PostgreSQL sorts what fits into its
    memory, and leaves every page half empty where that is all.
    """
    if connection.vendor == "postgresql":
        sql.execute("SET maintenance_work_mem = '1MB'")
    database.install()
    sql.execute("DELETE FROM chat_unindexedtext")
    if connection.vendor == "sqlite":
        for table in TABLES:
            sql.execute(f"INSERT INTO {table}_index ({table}_index) VALUES ('rebuild')")  # noqa: S608
    sql.execute("ANALYZE")


def size_of_text() -> int:
    """Return how many bytes all texts have."""
    length = "LENGTH(CAST({} AS BLOB))" if connection.vendor == "sqlite" else "OCTET_LENGTH({})"
    sizes = [
        sql.column(f"SELECT SUM({length.format(column)}) FROM {table}")[0]  # noqa: S608
        for table, column in (("chat_message", "content"), ("chat_thread", "title"))
    ]
    return int(sum(sizes))


def size_of_index() -> int:
    """Return how many bytes the index takes up, with the terms and their keys."""
    if connection.vendor == "sqlite":
        pages = "SELECT SUM(pgsize) FROM dbstat WHERE name LIKE %s OR name LIKE %s"
        return int(sql.column(pages, *(f"%{table}%" for table in TABLES))[0])
    return sum(sql.column("SELECT pg_total_relation_size(%s)", table)[0] for table in TABLES)


# --- The calls -----------------------------------------------------------------------------------


async def all_search(here: World, queries: Sequence[tuple[Person, str]]) -> list[float]:
    """Have people search one after another; return how long each search took, in seconds."""
    times = []
    async with client() as session:
        for person, query in [*queries[:10], *queries]:  # the first ones warm up
            url = f"{here.server.url}/chat/search/?{urlencode({'q': query})}"
            reading = await read(session, "GET", url, headers=person.headers)
            require_whole([reading])
            if reading.size < len(NOTHING_FOUND) * 2:
                raise RuntimeError(f"nothing is found for {query!r}")
            times.append(reading.pieces_at[-1])
    return times[10:]


def queries_of(people: Sequence[Person], number: int) -> list[tuple[Person, str]]:
    """Return what people search for: words, beginnings and phrases of their own messages."""
    dice = random.Random(2)  # noqa: S311
    queries = []
    for turn in range(number):
        person = people[turn % len(people)]
        theirs = Message.objects.filter(thread__user=person.user_id).order_by("pk")
        text = theirs[dice.randrange(theirs.count())].content
        words = text.replace(".", "").lower().split()
        start = dice.randrange(len(words))
        query = [
            words[start],
            words[start][: dice.randint(1, 5)],
            " ".join(dice.sample(words, min(2, len(words)))),
            f'"{" ".join(words[start : start + 3])}"',
        ][turn % 4]
        queries.append((person, query))
    connection.close()
    return queries


def compare_sends(on_postgresql: bool, number: int) -> float:
    """Return by which share a send with the index is slower than one without."""
    with world(tokens=TOKENS, interval=0.001, on_postgresql=on_postgresql) as without:
        drop_index()
        (one,) = create_people(1, threads=20)
        with world(tokens=TOKENS, interval=0.001, on_postgresql=on_postgresql) as with_index:
            (other,) = create_people(1, threads=20)
            times = run(all_send(((without, one), (with_index, other)), number))
    before, after = (percentile(each, 50) for each in times)
    note(f"a send took {before * 1000:.1f} ms without the index, {after * 1000:.1f} ms with it")
    return after / before - 1


async def all_send(
    senders: Sequence[tuple[World, Person]], number: int
) -> tuple[list[float], list[float]]:
    """Have two people send in turn; return how long it took until each had their replies."""
    times: tuple[list[float], list[float]] = ([], [])
    async with client() as session:
        for turn in range(number + 10):
            for (here, person), theirs in zip(senders, times, strict=True):
                thread = person.threads[turn % len(person.threads)]
                reading = await send(session, here.server.url, person, thread=thread)
                require_whole([reading])
                if turn >= 10:
                    theirs.append(reading.pieces_at[-1])
    return times


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

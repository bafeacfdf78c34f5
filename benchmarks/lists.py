"""Lists: the time of the first page of threads and of messages, in a small and a large database.

Two servers are asked in turn. In one's database the user has 250 threads; in the other's 100,000,
with 1,000,000 messages. The pages are full and equally long in both.
"""

import sqlite3
from contextlib import closing

import aiohttp

from benchmarks.readers import Reading, client, read, require_whole, send
from benchmarks.result import Result, note, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "lists"
LIMIT = 0.5
GOAL = "p50 grows by less than a half"

# Threads, turns in all of them, and turns in the thread that is read.
FEW = (250, 500, 150)
MANY = (100_000, 500_000, 5_000)
QUICK = (1_000, 5_000, 500)

TOKENS = 20
SAME = 0.1  # share by which the two pages may differ in size


def measure(quick: bool = False) -> Result:
    """Request both pages from both servers in turn."""
    number, most = (20, QUICK) if quick else (300, MANY)
    with world(tokens=TOKENS, interval=0.001) as little:
        (with_few,) = create_people(1)
        fill(little, with_few, *FEW)
        with world(tokens=TOKENS, interval=0.001) as much:
            (with_many,) = create_people(1)
            fill(much, with_many, *most)
            note(f"the database has {much.database.stat().st_size / 2**20:.0f} MB")
            times = run(ask_in_turn([(little, with_few), (much, with_many)], number))
    parts = []
    growths = []
    for name, (few, many) in times.items():
        before, after = percentile(few, 50) * 1000, percentile(many, 50) * 1000
        growths.append(after / before - 1)
        parts.append(f"{name} {growths[-1]:+.0%} ({before:.1f} to {after:.1f} ms)")
    return Result(", ".join(parts), max(growths) < LIMIT)


def fill(here: World, person: Person, threads: int, turns: int, turns_here: int) -> None:
    """Store that many threads and turns, `turns_here` of them in the person's first thread.

    They are copies of a real turn, so only the columns that differ are named here. The turns of a
    thread are spread over the table, as they are when many people write at the same time.
    """
    run(store_turn(here, person))
    (thread,) = person.threads
    with closing(sqlite3.connect(here.database, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        question, reply = (
            row[0]
            for row in database.execute(
                "SELECT id FROM chat_message WHERE thread_id = ? ORDER BY id", [thread]
            )
        )
        database.execute("BEGIN")
        copy(
            database,
            "chat_thread",
            thread,
            threads - 1,
            id=f"{thread} + n",
            updated_at="strftime('%Y-%m-%d %H:%M:%S', '2025-01-01', n || ' seconds')",
        )
        # Every nth turn belongs to the thread that is read.
        nth = turns // turns_here
        thread_of_turn = (
            f"CASE n % {nth} WHEN 0 THEN {thread} ELSE {thread} + 1 + n % {threads - 1} END"
        )
        # There each follows the one before it; elsewhere each begins its thread anew.
        before = f"CASE n % {nth} WHEN 0 THEN {reply} + 2 * (n - {nth}) END"
        for source, parent in ((question, before), (reply, f"{question} + 2 * n")):
            changes = {"id": f"{source} + 2 * n", "thread_id": thread_of_turn, "parent_id": parent}
            copy(database, "chat_message", source, turns, **changes)
        database.execute(
            "UPDATE chat_thread SET current_message_id ="
            " (SELECT MAX(id) FROM chat_message WHERE thread_id = chat_thread.id)"
        )
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy(
    database: sqlite3.Connection, table: str, source: int, number: int, **changes: str
) -> None:
    """Copy a row `number` times; `changes` has SQL in `n`, which counts from 1, by column."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = [changes.get(column, column) for column in columns]
    database.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT ?)"  # noqa: S608
        f" INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {', '.join(values)} FROM numbers CROSS JOIN {table} WHERE id = ?",
        [number, source],
    )


async def store_turn(here: World, person: Person) -> None:
    """Send a message, so that one real turn is stored."""
    async with client() as session:
        require_whole([await send(session, here.server.url, person)])


async def ask_in_turn(
    asked: list[tuple[World, Person]], number: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Return for each page how long its `number` calls took, in seconds, with both databases."""
    times: dict[str, tuple[list[float], list[float]]] = {
        "threads": ([], []),
        "messages": ([], []),
    }
    async with client() as session:
        for index in range(number + 5):  # the first ones warm up
            for name, pages in times.items():
                readings = [await call(session, here, person, name) for here, person in asked]
                few, many = (reading.size for reading in readings)
                if abs(few - many) > SAME * few:  # the larger one's ids have more digits
                    raise RuntimeError(f"the pages of {name} have {few} and {many} bytes")
                if index >= 5:
                    for page, reading in zip(pages, readings, strict=True):
                        page.append(reading.pieces_at[-1])
    return times


async def call(session: aiohttp.ClientSession, here: World, person: Person, name: str) -> Reading:
    """Read the first page, and return the reading."""
    path = "/chat/threads/" if name == "threads" else f"/chat/threads/{person.threads[0]}/messages/"
    reading = await read(session, "GET", here.server.url + path, headers=person.headers)
    require_whole([reading])
    return reading


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""Sending to a long thread: the time until the first token, in threads of ten and of many messages.

On SQLite and on PostgreSQL. Both threads are in one database and sent to in turn. Then the system
prompts change before each send, so that no prompt begins like the one before it, and the window is
filled anew. Meanwhile somebody else sends, at the same moment each time: what they wait beside the
long thread is compared with what they wait beside the short one.
"""

import asyncio
from dataclasses import dataclass, field

from django.core.management.color import no_style
from django.db import connection, transaction

from benchmarks.readers import TOKEN_BYTES, Reading, client, require_whole, send
from benchmarks.result import Result, note, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "sending to a long thread"
LIMIT, LIMIT_AFTER_A_CHANGE, OTHERS_LIMIT = 1.2, 2.0, 1.1
GOAL = (
    f"p50 at most {LIMIT} times, after a change of the system prompt {LIMIT_AFTER_A_CHANGE};"
    f" for others {OTHERS_LIMIT}"
)

SHORT, LONG, QUICK = 10, 100_000, 2_000  # messages
TOKENS = 3
PAUSE = 0.01  # after each reply, so that the server can store its end
WORDS = "Why is the sky blue by day and black by night? "


def measure(quick: bool = False) -> Result:
    """Send to both threads in turn, on both databases."""
    parts, is_met = [], True
    for on_postgresql in (False, True):
        name = "PostgreSQL" if on_postgresql else "SQLite"
        same, changed, others = measure_on(on_postgresql=on_postgresql, quick=quick)
        parts.append(
            f"{name}: {same:.2f} times, after a change {changed:.2f}, for others {others:.2f}"
        )
        note(parts[-1])
        is_met &= same <= LIMIT and changed <= LIMIT_AFTER_A_CHANGE and others <= OTHERS_LIMIT
    return Result("; ".join(parts), is_met)


def measure_on(*, on_postgresql: bool, quick: bool) -> tuple[float, float, float]:
    """Return the ratios: of plain sends, of those after a change, of others' beside those."""
    number, most = (10, QUICK) if quick else (150, LONG)
    with world(interval=0.001, tokens=TOKENS, on_postgresql=on_postgresql) as here:
        short, long, other = create_people(3)
        fill(short, SHORT)
        fill(long, most)
        same = run(send_in_turn(here, [short, long], number, change=False))
        changed = run(send_in_turn(here, [short, long], number // 2, change=True))
        beside = run(send_in_turn(here, [short, long], number, change=True, other=other))
    return same.ratio("sends"), changed.ratio("after a change"), beside.others_ratio()


@dataclass
class Times:
    """How long first tokens took, in seconds: of the short and the long thread, and of others."""

    own: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    others: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def ratio(self, name: str) -> float:
        """Return by what the long thread's median is larger."""
        return _ratio(name, self.own)

    def others_ratio(self) -> float:
        """Return by what the others' median is larger beside the long thread."""
        return _ratio("others", self.others)


def _ratio(name: str, times: tuple[list[float], list[float]]) -> float:
    short, long = (percentile(each, 50) * 1000 for each in times)
    note(f"{name}: first token after {short:.1f} ms with the short thread, {long:.1f} ms the long")
    return long / short


def fill(person: Person, number: int) -> None:
    """Store messages in the person's first thread, each following the one before it.

    They are not indexed for the search: that would go on while sends are measured.
    """
    from chat.models import Message, Sender, Thread, UnindexedText
    from chat.prompt.estimate import VERSION, estimate

    (thread_id,) = person.threads
    before = Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    text = WORDS * 4
    tokens = estimate(text)
    with transaction.atomic():
        Message.objects.bulk_create(
            (
                Message(
                    pk=before + 1 + index,
                    thread_id=thread_id,
                    parent_id=before + index if index else None,
                    sender=Sender.BOT if index % 2 else Sender.USER,
                    content=text,
                    tokens=tokens,
                    estimator=VERSION,
                    turns_kept=index // 2 if index % 2 else None,
                    turns_dropped=0 if index % 2 else None,
                )
                for index in range(number)
            ),
            batch_size=2_000,
        )
        UnindexedText.objects.all().delete()
    Thread.objects.filter(pk=thread_id).update(current_message=before + number)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [Message]):
            cursor.execute(statement)
    connection.close()


async def send_in_turn(
    here: World,
    people: list[Person],
    number: int,
    *,
    change: bool,
    other: Person | None = None,
) -> Times:
    """Return how long the first tokens took of `number` sends of each person.

    With each of them `other` sends too. `change` is for a system prompt that changes before.
    """
    times, url = Times(), here.server.url
    async with client() as session:
        for index in range(number + 3):  # the first ones warm up
            for turn, person in enumerate(people):
                if change:
                    await session.patch(
                        f"{url}/chat/threads/{person.threads[0]}/",
                        json={"system_prompt": f"Answer number {index} in a friendly way."},
                        headers=person.headers,
                    )
                senders = [person, other] if other else [person]
                readings: list[Reading] = await asyncio.gather(
                    *(send(session, url, sender) for sender in senders)
                )
                require_whole(readings, TOKENS * TOKEN_BYTES)
                if index >= 3:
                    times.own[turn].append(readings[0].first_after)
                    times.others[turn].append(readings[-1].first_after)
                await asyncio.sleep(PAUSE)
    return times


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""Sending to a long thread: the time until the first token, in threads of ten and of many messages.

Both threads are in one database and sent to in turn. Then the system prompts change before each
send, so that no prompt begins like the one before it, and the window is filled anew.
"""

import asyncio

from benchmarks.readers import TOKEN_BYTES, Reading, client, require_whole, send
from benchmarks.result import Result, note, percentile, run_alone
from benchmarks.world import Person, World, create_people, run, world

WHAT = "sending to a long thread"
LIMIT, LIMIT_AFTER_A_CHANGE = 1.2, 2.0
GOAL = f"p50 at most {LIMIT} times, after a change of the system prompt {LIMIT_AFTER_A_CHANGE}"

SHORT, LONG, QUICK = 10, 100_000, 2_000  # messages
TOKENS = 3
PAUSE = 0.01  # after each reply, so that the server can store its end
WORDS = "Why is the sky blue by day and black by night? "


def measure(quick: bool = False) -> Result:
    """Send to both threads in turn."""
    number, most = (10, QUICK) if quick else (150, LONG)
    with world(interval=0.001, tokens=TOKENS) as here:
        people = create_people(2)
        for person, messages in zip(people, (SHORT, most), strict=True):
            fill(person, messages)
        same = run(send_in_turn(here, people, number, change=False))
        changed = run(send_in_turn(here, people, number // 2, change=True))
    ratio, after_a_change = ratio_of(same), ratio_of(changed)
    return Result(
        f"{ratio:.2f} times, after a change of the system prompt {after_a_change:.2f} times",
        ratio <= LIMIT and after_a_change <= LIMIT_AFTER_A_CHANGE,
    )


def ratio_of(times: tuple[list[float], list[float]]) -> float:
    """Return by what the long thread's median is larger."""
    short, long = (percentile(each, 50) * 1000 for each in times)
    note(f"first token after {short:.1f} ms in the short thread, {long:.1f} ms in the long one")
    return long / short


def fill(person: Person, number: int) -> None:
    """Store so many messages in the person's first thread, each following the one before it."""
    from chat.models import Message, Sender, Thread
    from chat.prompt.estimate import VERSION, estimate

    (thread_id,) = person.threads
    before = Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    text = WORDS * 4
    tokens = estimate(text)
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
    Thread.objects.filter(pk=thread_id).update(current_message=before + number)


async def send_in_turn(
    here: World, people: list[Person], number: int, *, change: bool
) -> tuple[list[float], list[float]]:
    """Return for each person how long the first token took, in seconds, of `number` sends."""
    times: tuple[list[float], list[float]] = ([], [])
    async with client() as session:
        for index in range(number + 3):  # the first ones warm up
            for person, each in zip(people, times, strict=True):
                if change:
                    await session.patch(
                        f"{here.server.url}/chat/threads/{person.threads[0]}/",
                        json={"system_prompt": f"Answer number {index} in a friendly way."},
                        headers=person.headers,
                    )
                reading: Reading = await send(session, here.server.url, person)
                require_whole([reading], TOKENS * TOKEN_BYTES)
                if index >= 3:
                    each.append(reading.first_after)
                await asyncio.sleep(PAUSE)
    return times


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)

"""Which slot a chat gets."""

import asyncio

from local_model.slots import Slots

SYSTEM = list(range(100))


async def test_a_conversation_returns_to_its_slot() -> None:
    slots = Slots(3)
    first, second = [*SYSTEM, *[1] * 300], [*SYSTEM, *[2] * 300]
    for prompt in (first, second):
        slots.give_back(await slots.borrow(prompt))

    mine = await slots.borrow([*first, 3])

    assert mine.id == 0
    assert (await slots.borrow([*second, 3])).id == 1


async def test_a_new_conversation_does_not_displace_a_longer_one() -> None:
    slots = Slots(2)
    slots.give_back(await slots.borrow([*SYSTEM, *[1] * 300]))

    assert (await slots.borrow([*SYSTEM, *[2] * 10])).id == 1


async def test_a_new_conversation_reuses_what_is_worth_more_than_it_displaces() -> None:
    slots = Slots(2)
    slots.give_back(await slots.borrow([*SYSTEM, *[1] * 10]))

    assert (await slots.borrow([*SYSTEM, *[2] * 10])).id == 0


async def test_of_equal_slots_the_least_recently_used_is_taken() -> None:
    slots = Slots(2)
    for prompt in ([1], [2]):
        slots.give_back(await slots.borrow(prompt))

    assert (await slots.borrow([3])).id == 0


async def test_chats_wait_in_order_of_arrival() -> None:
    slots = Slots(1)
    only = await slots.borrow([])
    waiting = [asyncio.create_task(slots.borrow([number])) for number in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()

    slots.give_back(only)

    assert (await waiting[1]).prompt == [1]
    assert not waiting[2].done()
    waiting[2].cancel()

"""Which chat generates next, and in which of llama.cpp's slots: each keeps its last prompt."""

import asyncio
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(eq=False)
class Slot:
    """One of llama.cpp's slots, and the prompt (token ids) that its cache holds."""

    id: int
    prompt: list[int] = field(default_factory=list)

    def gain(self, prompt: list[int]) -> int:
        """Return how many tokens using this slot saves, less those that its cache would lose."""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self.prompt, prompt, strict=False))
        common = sum(1 for _ in same)
        return common - (len(self.prompt) - common)


class Slots:
    """Assigns the slots, first come, first served.

    llama.cpp itself chooses by the share of the new prompt that a slot has cached. Conversations
    with the same system prompt then push each other out of one slot while others are empty.
    Weighing what is saved against what is lost keeps each conversation in its slot.
    """

    def __init__(self, count: int) -> None:
        """Start with ``count`` empty slots."""
        self._free = [Slot(number) for number in range(count)]
        self._turns = asyncio.Semaphore(count)

    async def borrow(self, prompt: list[int]) -> Slot:
        """Wait for a free slot, and take the one in which ``prompt`` is cheapest."""
        await self._turns.acquire()
        slot = max(self._free, key=lambda slot: slot.gain(prompt))
        if slot.gain(prompt) <= 0:
            slot = self._free[0]  # the least recently used
        self._free.remove(slot)
        slot.prompt = prompt
        return slot

    def give_back(self, slot: Slot) -> None:
        """Free ``slot`` for the next chat."""
        self._free.append(slot)
        self._turns.release()

"""Who generates next, and in which of llama.cpp's slots: each slot remembers its last prompt."""

import asyncio
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(eq=False)
class Slot:
    """One of llama.cpp's slots, and the prompt (token ids) whose evaluation it still holds."""

    id: int
    prompt: list[int] = field(default_factory=list)

    def worth(self, prompt: list[int]) -> int:
        """How many tokens are saved by using this slot, less those that it would forget."""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self.prompt, prompt, strict=False))
        common = sum(1 for _ in same)
        return common - (len(self.prompt) - common)


class Slots:
    """Lends the slots out, first come first served.

    llama.cpp would choose by the share of the new prompt that a slot already knows. Conversations
    that begin with the same system prompt then push each other out of one slot while others are
    empty; weighing what is saved against what is lost keeps each conversation where it was.
    """

    def __init__(self, count: int) -> None:
        """Start with ``count`` empty slots."""
        self._free = [Slot(number) for number in range(count)]
        self._turns = asyncio.Semaphore(count)

    async def borrow(self, prompt: list[int]) -> Slot:
        """Wait for a free slot, and take the one that makes ``prompt`` cheapest."""
        await self._turns.acquire()
        slot = max(self._free, key=lambda slot: slot.worth(prompt))
        if slot.worth(prompt) <= 0:
            slot = self._free[0]  # the longest unused
        self._free.remove(slot)
        slot.prompt = prompt
        return slot

    def give_back(self, slot: Slot) -> None:
        """Let the next chat have ``slot``."""
        self._free.append(slot)
        self._turns.release()

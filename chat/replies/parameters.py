"""How one reply is written, where that is not as its thread says."""

from copy import copy
from dataclasses import dataclass
from typing import Any

from chat.formats import Format
from chat.models import Message, Thread


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a send wants of its reply alone.

    `options` are added to the thread's, `instructions` replace its system prompt. A reply
    in the background is written to its end, even if nobody reads it.
    """

    model: str = ""
    options: dict[str, Any] | None = None
    instructions: str | None = None
    format: Format | None = None
    in_background: bool = False

    def applied_to(self, thread: Thread) -> Thread:
        """Return the thread as this reply sees it, which is not to be saved."""
        seen = copy(thread)
        seen.model = self.model or thread.model
        if self.options is not None:
            seen.options = {**thread.options, **self.options}
        if self.instructions is not None:
            seen.system_prompt = self.instructions
        return seen

    def fields(self, seen: Thread) -> dict[str, Any]:
        """Return what the reply's row keeps of them; `seen` is what `applied_to` returned."""
        return {
            "model": seen.model,
            "options": None if self.options is None else seen.options,
            "instructions": self.instructions,
            "format": self.format,
            "in_background": self.in_background,
        }


NO_PARAMETERS = Parameters()


def thread_as_seen(reply: Message) -> Thread:
    """Return a reply's thread as the reply sees it, which is not to be saved."""
    return Parameters(reply.model, reply.options, reply.instructions).applied_to(reply.thread)

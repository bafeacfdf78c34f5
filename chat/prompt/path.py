"""The messages that a prompt is planned from: a branch, read backwards until the window is full.

So a send costs the same in a thread of ten messages and of a hundred thousand.
"""

from collections.abc import Sequence

from chat import statements
from chat.models import Message, Thread
from chat.prompt.window import front_key, limits

NO_LIMIT = 2**62


def read_path(thread: Thread, end: Message | None, window: int) -> Sequence[Message]:
    """Return the messages up to `end`, oldest first, from where the next prompt may begin.

    That is the starting point of the last reply, as long as the front of its prompt is the same;
    otherwise they are read until they fill the window. `window` is as for `window.plan`.
    """
    if end is None:
        return []
    num_ctx, budget = limits(thread, window)
    start = end.context_start
    if start is not None and end.context_key == front_key(thread, start, num_ctx):
        return statements.path_back(end, oldest=start, tokens=NO_LIMIT)
    return statements.path_back(end, oldest=0, tokens=budget)

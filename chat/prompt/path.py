"""The messages that a prompt is planned from: a branch, read backwards until the window is full.

So a send costs the same in a thread of ten messages and of a hundred thousand.
"""

from collections.abc import Sequence

from chat import statements
from chat.models import Message, Thread
from chat.prompt.window import limits, starting_point

NO_LIMIT = 2**62


def read_path(thread: Thread, end: Message | None, window: int) -> Sequence[Message]:
    """Return the messages up to `end`, oldest first, from where the next prompt may begin.

    That is the starting point of the last reply with the same front; where there is none, they are
    read until they fill the window. `window` is as for `window.plan`.
    """
    if end is None:
        return []
    num_ctx, budget = limits(thread, window)
    start = starting_point([end], thread, num_ctx)
    if start is None:
        path = statements.path_back(end, oldest=0, tokens=budget)
        start = starting_point(path, thread, num_ctx)
        if start is None:
            return path
    return statements.path_back(end, oldest=start, tokens=NO_LIMIT)

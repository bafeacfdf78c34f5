"""Hand-written SQL for the hot path, each statement with an ORM twin in a test.

The ORM builds each statement again for each call, which costs three to ten times as much as running
it: that was half of the CPU time of a send. `docs/performance.md` has the figures.
"""

from chat.statements.messages import (
    FIELDS_OF_A_PARENT,
    FIELDS_OF_A_PATH,
    delete_messages,
    find_message,
    insert_message,
    path_back,
)
from chat.statements.replies import (
    add_usage,
    save_heartbeats,
    save_reply_end,
    save_texts,
    turns,
)
from chat.statements.threads import (
    get_thread,
    insert_events,
    page_of_threads,
    record_activity,
    set_current_message,
    threads_in_list,
)
from chat.statements.tree import (
    copy_path,
    ids_below,
    newest_below,
    page_of_branch,
    set_parents,
)

__all__ = [
    "FIELDS_OF_A_PARENT",
    "FIELDS_OF_A_PATH",
    "add_usage",
    "copy_path",
    "delete_messages",
    "find_message",
    "get_thread",
    "ids_below",
    "insert_events",
    "insert_message",
    "newest_below",
    "page_of_branch",
    "page_of_threads",
    "path_back",
    "record_activity",
    "save_heartbeats",
    "save_reply_end",
    "save_texts",
    "set_current_message",
    "set_parents",
    "threads_in_list",
    "turns",
]

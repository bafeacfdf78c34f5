"""Notes what happens to threads, for the feeds of all processes.

Call each function in the transaction of the change: then nothing is reported that did not happen,
and nothing that did is forgotten, whenever a process dies.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from django.db import transaction

from chat import statements
from chat.feed.hub import hub
from chat.models import Message, ThreadEvent

MANY = 100  # threads at once, which nobody wants to be told one by one

Kind = ThreadEvent.Kind


def thread_changed(thread_id: int, user_id: int) -> None:
    """Note that a thread was made or changed."""
    _note(ThreadEvent(user_id=user_id, kind=Kind.CHANGED, thread_id=thread_id))


def threads_deleted(deleted: Sequence[tuple[int, int]]) -> None:
    """Note that threads were deleted: the id of each, and of its user."""
    numbers = Counter(user_id for _, user_id in deleted)
    for user_id in numbers:
        if numbers[user_id] > MANY:
            many_changed(user_id)
    _note(
        *(
            ThreadEvent(user_id=user_id, kind=Kind.DELETED, thread_id=thread_id)
            for thread_id, user_id in deleted
            if numbers[user_id] <= MANY
        )
    )


def many_changed(user_id: int) -> None:
    """Note that too much has happened to a user's threads: a list is best loaded again."""
    _note(ThreadEvent(user_id=user_id, kind=Kind.MANY))


def reply_started(reply: Message) -> None:
    """Note that a reply is being written."""
    _note(
        ThreadEvent(
            user_id=reply.thread.user_id,
            kind=Kind.REPLY_STARTED,
            thread_id=reply.thread_id,
            reply_id=reply.pk,
        )
    )


def replies_ended(ended: Iterable[tuple[int, int, int]], status: str) -> None:
    """Note that replies have ended: the id of each, of its thread and of its user."""
    _note(
        *(
            ThreadEvent(
                user_id=user_id,
                kind=Kind.REPLY_ENDED,
                thread_id=thread_id,
                reply_id=reply_id,
                status=status,
            )
            for reply_id, thread_id, user_id in ended
        )
    )


def _note(*events: ThreadEvent) -> None:
    statements.insert_events(events)
    for user_id in {event.user_id for event in events}:
        transaction.on_commit(partial(hub.wake, user_id))

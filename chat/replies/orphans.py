"""Finds the replies whose process has died."""

from datetime import timedelta

from chat.models import Message, MessageQuerySet
from chat.replies import lifecycle, live
from chat.replies.lifecycle import silence_of
from chat.replies.owner import may_be_alive, this_process

DEAD_AFTER = timedelta(seconds=3)  # without a heartbeat, where the process is known to be gone
STALE_AFTER = timedelta(seconds=30)  # where it may be there


def interrupt_orphans(messages: MessageQuerySet) -> bool:
    """Interrupt the orphaned replies among `messages`; return whether others are being written."""
    running = list(messages.generating().with_silence().only("status", "owner", "heartbeat_at"))
    orphans = [reply for reply in running if is_orphaned(reply)]
    for reply in orphans:
        lifecycle.interrupt(reply)
    return len(running) > len(orphans)


def is_orphaned(reply: Message) -> bool:
    """Return whether a generating reply's process is dead, as far as can be seen from here.

    `reply` was read `with_silence`.
    """
    silent_for = silence_of(reply)
    if reply.owner == this_process():  # which may itself be waiting for the database
        return silent_for > DEAD_AFTER and reply.pk not in live.registry.replies
    is_dead = silent_for > DEAD_AFTER and not may_be_alive(reply.owner)
    return is_dead or silent_for > STALE_AFTER

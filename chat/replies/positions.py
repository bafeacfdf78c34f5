"""How many calls are before a reply that waits for its turn, as its readers and lists have it."""

import math
import threading
import time
from collections.abc import Iterable

from django.conf import settings

from chat.models import Message, MessageStatus
from chat.replies import turns

SNAPSHOT_SECONDS = 0.5
NEW_SNAPSHOT_SECONDS = 0.02  # for a reply that is not in the last one


class Positions:
    """The positions of all replies that wait, read twice a second, or as soon as one is new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = -math.inf
        self._of_replies: dict[int, int | None] = {}  # None of those that have their turns

    def of(self, replies: Iterable[int]) -> dict[int, int]:
        """Return the positions of those of these running replies that wait, by id."""
        ids = list(replies)
        if not ids or not settings.OLLAMA_PARALLEL:
            return {}
        with self._lock:
            age = time.monotonic() - self._read_at
            has_new = any(reply_id not in self._of_replies for reply_id in ids)
            if age > (NEW_SNAPSHOT_SECONDS if has_new else SNAPSHOT_SECONDS):
                rows = turns.read_rows()
                places = {row: place for place, row in enumerate(turns.in_fair_order(rows))}
                self._of_replies = {row.reply_id: places.get(row) for row in rows if row.reply_id}
                self._read_at = time.monotonic()
            found = {reply_id: self._of_replies.get(reply_id) for reply_id in ids}
        return {reply_id: place for reply_id, place in found.items() if place is not None}

    def add_to(self, messages: Iterable[Message]) -> None:
        """Set the `position` of messages."""
        running = [m for m in messages if m.status == MessageStatus.GENERATING]
        places = self.of(message.pk for message in running)
        for message in running:
            message.position = places.get(message.pk)


positions = Positions()

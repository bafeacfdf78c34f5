"""Which processes are serving; all functions but `beat_forever` block on the database."""

import asyncio
import logging
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db.models.functions import Now

from chat.models import Worker
from chat.replies.owner import this_process
from core.database import heartbeats, in_background

BEAT_SECONDS = 1.0
GONE_AFTER = timedelta(seconds=6)  # of silence, nothing is left to a process any more
FORGOTTEN_AFTER = timedelta(hours=1)

logger = logging.getLogger(__name__)


async def beat_forever() -> None:
    """Record every second that this process is alive, until cancelled.

    Others give its turns away, and do not leave replies to it, when they hear nothing of it.
    """
    while True:
        try:
            await in_background(heartbeats, record_heartbeat)
        except DatabaseError as error:
            logger.error("That this process is alive could not be recorded: %s", error)
        except Exception:
            # A bug must not end this, or the process would seem dead.
            logger.exception("That this process is alive could not be recorded")
        await asyncio.sleep(BEAT_SECONDS)


def record_heartbeat() -> None:
    """Record that this process is alive, and forget those that are long gone."""
    Worker.objects.update_or_create(name=this_process(), defaults={"seen_at": Now()})
    Worker.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()


def record_end() -> None:
    """Record that this process is ending."""
    Worker.objects.filter(name=this_process()).delete()


def alive() -> set[str]:
    """Return the names of those that are serving, as far as they have been heard of."""
    heard = Worker.objects.filter(seen_at__gt=Now() - GONE_AFTER)
    return set(heard.values_list("name", flat=True))


def is_another_alive() -> bool:
    """Return whether another process could carry on what this one lets go of."""
    others = Worker.objects.exclude(name=this_process())
    return others.filter(seen_at__gt=Now() - GONE_AFTER).exists()

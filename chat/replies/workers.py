"""Which processes are serving; every function blocks on the database."""

from datetime import timedelta

from django.db.models.functions import Now

from chat.models import Worker
from chat.replies.owner import this_process

GONE_AFTER = timedelta(seconds=6)
FORGOTTEN_AFTER = timedelta(hours=1)


def record_heartbeat() -> None:
    """Record that this process is alive, and forget those that are long gone."""
    Worker.objects.update_or_create(name=this_process(), defaults={"seen_at": Now()})
    Worker.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()


def record_end() -> None:
    """Record that this process is ending."""
    Worker.objects.filter(name=this_process()).delete()


def is_another_alive() -> bool:
    """Return whether another process could carry on what this one lets go of."""
    others = Worker.objects.exclude(name=this_process())
    return others.filter(seen_at__gt=Now() - GONE_AFTER).exists()

"""The processes that serve, and the calls to models that they make or wait with."""

from django.db import models
from django.utils import timezone


class Worker(models.Model):
    """A process that serves and writes replies, for as long as it says that it is there."""

    name = models.CharField(max_length=300, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Turn(models.Model):
    """A call to a model that waits for its turn or has it: see `replies/turns.py`.

    Without foreign keys: the call goes on until its process ends it, whatever is deleted meanwhile.
    """

    user_id = models.BigIntegerField()
    reply_id = models.BigIntegerField(null=True, unique=True)  # of a stored reply
    # Calls of one conversation go to the same host, whose cache has their prompt.
    conversation = models.CharField(max_length=40)
    model = models.CharField(max_length=200)
    host = models.CharField(max_length=300, blank=True)  # whose turn it has; empty while it waits
    owner = models.CharField(max_length=300)  # the process that makes the call
    queued_at = models.DateTimeField(default=timezone.now)
    # When a turn of its user last ended while it waited: it is behind those who came before that.
    passed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Turn {self.pk}"

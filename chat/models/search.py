"""What the search index knows: see `search/`."""

from django.db import models

from chat.models.messages import Message
from chat.models.threads import Thread


class UnindexedText(models.Model):
    """A message or a title that the search index does not know yet, queued by triggers.

    `message_id` is None for the title of the thread. Without foreign keys: what was deleted
    meanwhile is skipped.
    """

    thread_id = models.BigIntegerField()
    message_id = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"Text {self.pk}"


class MessageTerms(models.Model):
    """What of a message the search index has: see `search/`. The database deletes it with it."""

    message = models.OneToOneField(
        Message, models.DO_NOTHING, primary_key=True, related_name="+", db_constraint=False
    )
    user_id = models.BigIntegerField()
    terms = models.TextField()

    def __str__(self) -> str:
        return f"Terms of message {self.pk}"


class TitleTerms(models.Model):
    """What of a thread's title the search index has, as `MessageTerms`."""

    thread = models.OneToOneField(
        Thread, models.DO_NOTHING, primary_key=True, related_name="+", db_constraint=False
    )
    user_id = models.BigIntegerField()
    terms = models.TextField()

    def __str__(self) -> str:
        return f"Terms of the title of thread {self.pk}"

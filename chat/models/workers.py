"""The processes that serve."""

from django.db import models


class Worker(models.Model):
    """A process that serves and writes replies, for as long as it says that it is there."""

    name = models.CharField(max_length=300, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name

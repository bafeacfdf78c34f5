"""How much was used of the models."""

from django.db import models
from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from accounts.models import User


class UsageQuerySet(models.QuerySet["Usage"]):
    """What was used."""

    def total(self) -> dict[str, int]:
        """Return the sums of all numbers."""
        names = ("replies", "prompt_tokens", "completion_tokens")
        return self.aggregate(**{name: Coalesce(Sum(name), 0) for name in names})


class Usage(models.Model):
    """What one user has used of one model on one day; stays when threads are deleted."""

    user = models.ForeignKey(User, models.CASCADE, related_name="usage", db_index=False)
    date = models.DateField()
    model = models.CharField(max_length=200)
    replies = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "usage"
        indexes = [models.Index(F("date").desc(), F("user"), F("model"), name="usage_by_date")]
        constraints = [
            models.UniqueConstraint(fields=["user", "date", "model"], name="one_row_a_day")
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.model}"

"""Threads, and what has happened to them."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User


class ThreadManager(models.Manager["Thread"]):
    """The threads that there are: expired and deleted ones are only in `Thread.all_objects`.

    Those of a user who is being deleted are here too: begin at a user, or use `user__deleted_at`.
    """

    def get_queryset(self) -> models.QuerySet["Thread"]:
        """Return the threads of all users."""
        living = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return super().get_queryset().filter(living, deleted_at=None)


class Thread(models.Model):
    """A conversation of one user.

    A deletion sets `deleted_at`, which hides the thread and its messages; the rows are deleted in
    the background. At `expires_at` the thread is hidden too, and deleted soon after. A query that
    does not start from `Thread.objects` must leave both out itself.
    """

    TITLE_LENGTH = 200
    UNTITLED = "New Chat"  # shown where the title is empty

    user = models.ForeignKey(User, models.CASCADE, related_name="threads", db_index=False)
    title = models.CharField(max_length=TITLE_LENGTH, blank=True)
    title_is_given = models.BooleanField(default=False)  # by a person, so never changed for them
    # The process that has the model write the title, once the first reply has ended; None where
    # none is to be written.
    title_owner = models.CharField(max_length=300, null=True, editable=False)  # noqa: DJ001
    model = models.CharField(max_length=200)
    # None stands for the server's own prompt, an empty one for none at all.
    system_prompt = models.TextField(null=True, blank=True)  # noqa: DJ001
    options = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    # The end of the current branch; None stands for the newest message. Without a constraint: every
    # deletion of messages would have to look for the threads that end in one of them.
    current_message = models.ForeignKey(
        "Message",
        models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    deleted_at = models.DateTimeField(null=True, editable=False)
    pinned = models.BooleanField(default=False, db_default=False)
    archived = models.BooleanField(default=False, db_default=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    # Of an imported one: hashes of what identified it there, and of all that was in it.
    source_key = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001
    source_digest = models.CharField(max_length=32, blank=True, default="", db_default="")

    # Of one that is read as lists have it (`THREAD_IN_LIST`). The position is its running reply's.
    running_reply_id: int | None = None
    position: int | None = None

    objects: ClassVar[ThreadManager] = ThreadManager()
    all_objects: ClassVar[models.Manager["Thread"]] = models.Manager()

    class Meta:
        indexes = [
            models.Index(
                F("user"),
                F("deleted_at"),
                F("archived"),
                F("pinned").desc(),
                F("updated_at").desc(),
                F("id").desc(),
                name="activity",
            ),
            models.Index(F("id"), condition=Q(deleted_at__isnull=False), name="deleted_threads"),
            models.Index(F("id"), condition=Q(title_owner__isnull=False), name="titles_to_write"),
            models.Index(
                F("expires_at"), condition=Q(expires_at__isnull=False), name="temporary_threads"
            ),
            models.Index(
                F("updated_at"), condition=Q(deleted_at__isnull=True), name="least_active_threads"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "source_key"],
                condition=Q(source_key__isnull=False, deleted_at__isnull=True),
                name="imported_once",
            )
        ]

    def __str__(self) -> str:
        return f"Thread {self.pk}"  # not its title: logs and the admin's lists show it

    @property
    def effective_system_prompt(self) -> str:
        """The system prompt that the model gets: the thread's, or the server's."""
        return settings.CHAT_SYSTEM_PROMPT if self.system_prompt is None else self.system_prompt


class ThreadEvent(models.Model):
    """What has happened to a thread, for the tabs and devices of its user; kept for an hour.

    Without foreign keys: it outlives the thread, and its user's deletion need not wait for it.
    """

    class Kind(models.TextChoices):
        """What has happened."""

        CHANGED = "changed"  # or was made
        DELETED = "deleted"
        REPLY_STARTED = "reply_started"
        REPLY_ENDED = "reply_ended"
        MANY = "many"  # more than anybody wants to be told one by one

    KEPT_FOR = timedelta(hours=1)

    user_id = models.BigIntegerField()
    kind = models.CharField(max_length=13, choices=Kind)
    thread_id = models.BigIntegerField(null=True)
    reply_id = models.BigIntegerField(null=True)
    status = models.CharField(max_length=11, blank=True)  # of the reply that has ended
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(F("user_id"), F("id"), name="events_of_user")]

    def __str__(self) -> str:
        return f"Event {self.pk}"

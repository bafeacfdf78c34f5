"""Threads, their messages, and how much was used of the models."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import ExpressionWrapper, F, Q, Sum
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import User


class ThreadManager(models.Manager["Thread"]):
    """The threads that there are: expired and deleted ones are only in `Thread.all_objects`.

    Those of a user who is being deleted are here too: begin at a user, or use `user__deleted_at`.
    """

    def get_queryset(self) -> models.QuerySet["Thread"]:
        """Return them, whosever they are."""
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
            models.Index(
                F("expires_at"), condition=Q(expires_at__isnull=False), name="temporary_threads"
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


class Sender(models.TextChoices):
    """Who wrote a message."""

    USER = "user"
    BOT = "bot"


class MessageStatus(models.TextChoices):
    """How far a message is; what a user wrote is complete."""

    GENERATING = "generating"
    COMPLETE = "complete"
    STOPPED = "stopped"  # by its user
    INTERRUPTED = "interrupted"  # the server went away
    FAILED = "failed"  # the model did


class MessageQuerySet(models.QuerySet["Message"]):
    """Messages, and the replies among them that are being written."""

    def generating(self) -> "MessageQuerySet":
        """Return the replies that are being written, or seem to be."""
        return self.filter(status=MessageStatus.GENERATING)

    def visible(self) -> "MessageQuerySet":
        """Return the messages whose thread and user are there: not expired, nor being deleted."""
        living = Q(thread__expires_at=None) | Q(thread__expires_at__gt=timezone.now())
        return self.filter(living, thread__deleted_at=None, thread__user__deleted_at=None)

    def with_silence(self) -> "MessageQuerySet":
        """Return the messages with the time since their last heartbeat, as `silent_for`.

        By the database's clock: those of two machines differ.
        """
        since = Coalesce("heartbeat_at", "created_at")
        silent_for = ExpressionWrapper(Now() - since, output_field=models.DurationField())
        return self.annotate(silent_for=silent_for)


class Message(models.Model):
    """What a user or the model wrote; a reply that is being written has the status generating."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages", db_index=False)
    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, related_name="children", db_index=False
    )
    sender = models.CharField(max_length=4, choices=Sender)
    content = models.TextField(blank=True)
    status = models.CharField(max_length=11, choices=MessageStatus, default=MessageStatus.COMPLETE)
    created_at = models.DateTimeField(default=timezone.now)
    # How many tokens the content has by prompt/estimate.py, and by which version of it.
    tokens = models.PositiveIntegerField(null=True)
    estimator = models.PositiveSmallIntegerField(null=True)

    # Of a reply only.
    thinking = models.TextField(blank=True)
    model = models.CharField(max_length=200, blank=True)
    # Where it was asked for with its own, and not with those of its thread.
    options = models.JSONField(null=True, blank=True)
    instructions = models.TextField(null=True, blank=True)  # noqa: DJ001 - an empty one is one
    in_background = models.BooleanField(default=False, db_default=False)
    format = models.JSONField(null=True, blank=True)  # see formats.py
    format_valid = models.BooleanField(null=True)
    error_code = models.CharField(max_length=50, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    finish_reason = models.CharField(max_length=20, blank=True, db_default="")
    duration_ms = models.PositiveIntegerField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    # What the model saw: see prompt/window.py.
    context_start = models.PositiveBigIntegerField(null=True)
    context_key = models.CharField(max_length=16, blank=True)
    context_tokens = models.PositiveIntegerField(null=True)
    turns_kept = models.PositiveIntegerField(null=True)
    turns_dropped = models.PositiveIntegerField(null=True)
    characters_cut = models.PositiveIntegerField(null=True)
    # The process that writes it, its last heartbeat (until the end is stored), and when a reader in
    # another process last said that it is there.
    owner = models.CharField(max_length=300, blank=True)
    # How often another process has taken over since the last new text was stored, and how many
    # characters no take-over has changed.
    takeovers = models.PositiveSmallIntegerField(default=0, db_default=0)
    rewind_offset = models.PositiveIntegerField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    followed_at = models.DateTimeField(null=True)
    # Since when its owner has had no reader of it; None while it has one.
    unread_since = models.DateTimeField(null=True)
    # What its user thinks of it.
    rating = models.SmallIntegerField(null=True, choices=[(1, "good"), (-1, "bad")])
    rating_comment = models.TextField(blank=True, default="", db_default="")
    rated_at = models.DateTimeField(null=True)

    objects = MessageQuerySet.as_manager()

    sibling_ids: list[int]  # set by branches.py: those with the same parent, oldest first

    class Meta:
        indexes = [
            models.Index(F("thread"), F("id").desc(), name="newest_of_thread"),
            # Two for the tree: without them a page of messages would cost more in a larger thread.
            models.Index(F("parent"), F("id"), name="children_of_message"),
            models.Index(
                F("thread"), F("id"), condition=Q(parent__isnull=True), name="roots_of_thread"
            ),
            models.Index(F("status"), F("id"), name="messages_by_status"),
            models.Index(
                F("rated_at").desc(),
                F("id").desc(),
                condition=Q(rating__isnull=False),
                name="rated_messages",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["thread"],
                condition=Q(status=MessageStatus.GENERATING),
                name="one_running_reply_a_thread",
            )
        ]

    def __str__(self) -> str:
        return f"Message {self.pk}"

    @property
    def is_reply(self) -> bool:
        """Whether the model wrote it."""
        return self.sender == Sender.BOT

    @property
    def context(self) -> dict[str, int | None] | None:
        """How much of the conversation the model saw for this reply; None of a user's message.

        The tokens are estimated until Ollama has counted them.
        """
        if not self.is_reply:
            return None
        return {
            "turns_kept": self.turns_kept,
            "turns_dropped": self.turns_dropped,
            "characters_cut": self.characters_cut,
            "tokens": self.prompt_tokens or self.context_tokens,
        }

    @property
    def usage(self) -> dict[str, int | None] | None:
        """What the reply has cost, by Ollama's record: not known of one that was cut short.

        None of a user's message.
        """
        if not self.is_reply:
            return None
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "duration_ms": self.duration_ms,
            "first_token_ms": self.first_token_ms,
        }


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


class Worker(models.Model):
    """A process that serves and writes replies, for as long as it says that it is there."""

    name = models.CharField(max_length=300, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Send(models.Model):
    """A send that its client may repeat: its idempotency key, and the reply that it began."""

    KEPT_FOR = timedelta(days=1)
    MAX_KEY_LENGTH = 200

    user = models.ForeignKey(User, models.CASCADE, db_index=False)
    key = models.CharField(max_length=MAX_KEY_LENGTH)
    digest = models.CharField(max_length=64)  # of what was sent
    reply = models.ForeignKey(Message, models.CASCADE)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_send_a_key")]

    def __str__(self) -> str:
        return f"Send {self.pk}"


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

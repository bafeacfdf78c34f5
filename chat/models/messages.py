"""Messages: what users write, and the replies of the model."""

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.models import User
from chat.models.threads import Thread


class Sender(models.TextChoices):
    """Who wrote a message."""

    USER = "user"
    BOT = "bot"


class MessageStatus(models.TextChoices):
    """How far a message is; what a user wrote is complete."""

    GENERATING = "generating"
    COMPLETE = "complete"
    STOPPED = "stopped"  # by its user or an operator, or since nobody read it any more
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

    RATING_COMMENT_LENGTH = 2_000

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
    # Set by replies/turns.py of one that waits: how many are before it in the queue.
    position: int | None = None

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

    @property
    def feedback(self) -> dict[str, Any] | None:
        """What the user thinks of the reply; None where they have not said so."""
        if self.rating is None:
            return None
        return {
            "rating": self.rating,
            "comment": self.rating_comment,
            "rated_at": self.rated_at,
        }


class RatedReply(Message):
    """A reply with its feedback, as the admin lists it."""

    class Meta:
        proxy = True
        default_permissions = ()  # who may view messages may view these
        verbose_name = "rated reply"
        verbose_name_plural = "feedback"

    def __str__(self) -> str:
        return f"Reply {self.pk}"


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

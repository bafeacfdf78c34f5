"""Threads, their messages, and what was used of the models."""

import os
import secrets
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from llama_chatbot import paging, sql

STALE_AFTER = timedelta(seconds=30)
DEAD_OWNER_AFTER = timedelta(seconds=3)


class ThreadQuerySet(models.QuerySet["Thread"]):
    """Threads, one by one and page by page; in SQL, see `llama_chatbot.sql`."""

    def of(self, user: User, thread_id: int) -> "Thread":
        """Return one of a user's threads. Raises `Http404`."""
        if thread_id <= models.BigIntegerField.MAX_BIGINT:
            for thread in self.raw(
                "SELECT * FROM chat_thread WHERE id = %s AND user_id = %s", [thread_id, user.pk]
            ):
                return thread
        raise Http404

    def page(self, user: User, limit: int, cursor: str) -> tuple[Sequence["Thread"], str | None]:
        """Return up to `limit` of a user's threads, newest activity first, and the next cursor."""
        before, parameters = "", [user.pk, limit + 1]
        if cursor:
            at, pk = paging.decode(cursor, user)
            before = "AND (updated_at, id) < (%s, %s)"
            parameters[1:1] = sql.stored(datetime.fromisoformat(at)), pk
        threads = self.raw(
            "SELECT id, title, model, created_at, updated_at FROM chat_thread"  # noqa: S608  # nosec B608
            f" WHERE user_id = %s {before} ORDER BY updated_at DESC, id DESC LIMIT %s",
            parameters,
        )
        return paging.page(threads, limit, user, lambda thread: (str(thread.updated_at), thread.pk))


class Thread(models.Model):
    """A conversation of one user."""

    TITLE_LENGTH = 200

    user = models.ForeignKey(User, models.CASCADE, related_name="threads")
    title = models.CharField(max_length=TITLE_LENGTH, blank=True)
    title_is_given = models.BooleanField(default=False)  # by a person, so never changed for them
    model = models.CharField(max_length=200)
    # None stands for the server's own prompt, an empty one for none at all.
    system_prompt = models.TextField(null=True, blank=True)  # noqa: DJ001
    options = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = ThreadQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(F("user"), F("updated_at").desc(), F("id").desc(), name="activity")]

    def __str__(self) -> str:
        return f"Thread {self.pk}"  # not its title: logs and the admin's lists show it

    @property
    def effective_system_prompt(self) -> str:
        """The system prompt that the model gets: the thread's, or the server's."""
        return settings.CHAT_SYSTEM_PROMPT if self.system_prompt is None else self.system_prompt

    def path_to(self, message: int | str | None) -> list["Message"]:
        """Return the messages from the thread's first to this one, in one query.

        `message` is an id, None for the empty path, or "newest" for the newest message. Each
        message has one parent, so that what was edited or asked again makes a branch.
        """
        if message is None:
            return []
        newest = "(SELECT MAX(id) FROM chat_message WHERE thread_id = %s)"
        end, key = (newest, self.pk) if message == "newest" else ("%s", message)
        return list(
            Message.objects.raw(
                "WITH RECURSIVE path(id, parent_id) AS ("  # noqa: S608  # nosec B608
                f" SELECT id, parent_id FROM chat_message WHERE id = {end} AND thread_id = %s"
                " UNION ALL SELECT m.id, m.parent_id FROM chat_message m"
                " JOIN path ON m.id = path.parent_id)"
                " SELECT * FROM chat_message WHERE id IN (SELECT id FROM path) ORDER BY id",
                [key, self.pk],
            )
        )


class Sender(models.TextChoices):
    """Who wrote a message."""

    USER = "user"
    BOT = "bot"


class Status(models.TextChoices):
    """How far a message is; what a user wrote is complete."""

    GENERATING = "generating"
    COMPLETE = "complete"
    STOPPED = "stopped"  # by its user
    INTERRUPTED = "interrupted"  # the server went away
    FAILED = "failed"  # the model did


HOST = socket.gethostname()
NONCE = secrets.token_hex(4)  # a container's process has the same number after its restart


written_here: set[int] = set()  # the ids of the replies that this process writes


def this_process() -> str:
    """Return the name under which this process owns replies."""
    return f"{HOST}/{os.getpid()}/{NONCE}"


def may_live(owner: str) -> bool:
    """Tell whether the process of that name exists; true for one on another machine."""
    host, pid, nonce = owner.rsplit("/", 2)
    if host != HOST:
        return True
    if int(pid) == os.getpid():
        return nonce == NONCE
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class MessageQuerySet(models.QuerySet["Message"]):
    """Messages, and the settling of replies whose process has died."""

    def generating(self) -> "MessageQuerySet":
        """Return the replies that are being written, or seem to be."""
        return self.filter(status=Status.GENERATING)

    def page(
        self, thread: Thread, limit: int, cursor: str
    ) -> tuple[Sequence["Message"], str | None]:
        """Return up to `limit` of a thread's messages, oldest first, and the older ones' cursor."""
        messages = self.filter(thread=thread).order_by("-pk")
        messages.settle()
        if cursor:
            messages = messages.filter(pk__lt=paging.decode(cursor, thread)[0])
        newest, older = paging.page(
            messages[: limit + 1], limit, thread, lambda message: (message.pk,)
        )
        return newest[::-1], older

    def settle(self) -> bool:
        """Mark as interrupted what nobody writes any more; return whether anything is written."""
        running = list(self.generating().only("thread", "owner", "heartbeat_at", "created_at"))
        orphans = [reply for reply in running if reply.is_orphaned]
        for reply in orphans:
            # Compared again, since its process may have come back meanwhile.
            still = Message.objects.generating().filter(
                pk=reply.pk, heartbeat_at=reply.heartbeat_at
            )
            still.update(status=Status.INTERRUPTED)
        return len(running) > len(orphans)


class Message(models.Model):
    """What a user or the model said; a reply in the making is one with the status generating."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
    sender = models.CharField(max_length=4, choices=Sender)
    content = models.TextField(blank=True)
    status = models.CharField(max_length=11, choices=Status, default=Status.COMPLETE)
    created_at = models.DateTimeField(default=timezone.now)

    # Of a reply only.
    thinking = models.TextField(blank=True)
    model = models.CharField(max_length=200, blank=True)
    error_code = models.CharField(max_length=50, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    # What the model saw: see context.py.
    context_start = models.PositiveBigIntegerField(null=True)
    context_key = models.CharField(max_length=16, blank=True)
    context_tokens = models.PositiveIntegerField(null=True)
    turns_kept = models.PositiveIntegerField(null=True)
    turns_dropped = models.PositiveIntegerField(null=True)
    # Who writes it, and when that (till the end is stored) and a reader elsewhere were heard of.
    owner = models.CharField(max_length=300, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    followed_at = models.DateTimeField(null=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(F("thread"), F("id").desc(), name="newest_of_thread")]
        constraints = [
            models.UniqueConstraint(
                fields=["thread"],
                condition=Q(status=Status.GENERATING),
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
    def may_grow(self) -> bool:
        """Whether its process has yet to store the end of its text, if it was stopped elsewhere."""
        if self.status == Status.GENERATING:
            return True
        heard_at = self.heartbeat_at
        return heard_at is not None and timezone.now() - heard_at < DEAD_OWNER_AFTER

    @property
    def is_orphaned(self) -> bool:
        """Whether a generating reply's process is dead, as far as can be told from here."""
        silent_for = timezone.now() - (self.heartbeat_at or self.created_at)
        if self.owner == this_process():  # which may wait for the database itself
            return silent_for > DEAD_OWNER_AFTER and self.pk not in written_here
        is_dead = silent_for > DEAD_OWNER_AFTER and not may_live(self.owner)
        return is_dead or silent_for > STALE_AFTER


class Send(models.Model):
    """A send that its client may repeat: its idempotency key, and the reply that it began."""

    KEPT_FOR = timedelta(days=1)
    MAX_KEY_LENGTH = 200

    user = models.ForeignKey(User, models.CASCADE)
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

    user = models.ForeignKey(User, models.CASCADE, related_name="usage")
    date = models.DateField()
    model = models.CharField(max_length=200)
    replies = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "usage"
        constraints = [
            models.UniqueConstraint(fields=["user", "date", "model"], name="one_row_a_day")
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.model}"

"""Persists replies, from the message that asks for one to its end.

All of it is sync, and each function is one transaction: none is open while the model writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from textwrap import shorten
from typing import NamedTuple

from django.db import transaction
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import statements, usage
from chat.models import Message, MessageStatus, Send, Sender, Thread
from chat.ollama.client import Stats
from chat.prompt import window
from chat.prompt.window import Prompt
from chat.replies import lifecycle
from core.errors import ApiError

AUTOMATIC_TITLE_LENGTH = 60


class ReplyInProgress(ApiError):
    """The thread has a running reply, and takes one at a time."""

    status, code = 409, "reply_in_progress"
    message = "This thread's last message is still being answered."


class IdempotencyKeyReused(ApiError):
    """An idempotency key came again with something else."""

    status, code = 409, "idempotency_key_reused"
    message = "This Idempotency-Key was sent with another message."


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that a user sends.

    `parent` is the id of the message it follows: None for the beginning of the thread, "newest" for
    the newest message. `key` is the client's idempotency key, or empty.
    """

    user: User
    thread_id: int
    text: str
    parent: int | str | None
    key: str

    @property
    def digest(self) -> str:
        """A hash of what is sent."""
        return sha256(repr((self.thread_id, self.text, self.parent)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StartedReply:
    """A reply that was started: its row, its thread with what it was before, and its prompt."""

    reply: Message
    thread: Thread
    title_before: str
    updated_before: datetime
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reply has ended; `pieces` is how many came from the model."""

    status: MessageStatus
    error: ApiError | None
    stats: Stats | None
    first_token_ms: int | None
    pieces: int


class RowState(NamedTuple):
    """What a reply's row tells the process that writes it."""

    status: str
    followed_at: datetime | None
    user_is_active: bool


def find_repeated(draft: Draft) -> int | None:
    """Return the id of the reply that this draft's key started within a day, if any.

    Raises `IdempotencyKeyReused` where that was for another message.
    """
    if not draft.key:
        return None
    send = Send.objects.filter(user=draft.user, key=draft.key).first()
    if send is None:
        return None
    if timezone.now() - send.created_at > Send.KEPT_FOR:
        send.delete()
        return None
    if send.digest != draft.digest:
        raise IdempotencyKeyReused
    return send.reply_id


def start(draft: Draft, thread: Thread, model_window: int) -> StartedReply:
    """Store a user's message, and the reply that this process is about to write.

    `model_window` is as for `window.plan`. Raises `IntegrityError` and `ReplyInProgress` where
    a reply of the thread is being written, `Http404`, `QuotaExceeded`, and what `plan` raises.
    """
    now, title = timezone.now(), thread.title or first_words(draft.text)
    with transaction.atomic():
        if draft.key:  # which is stored with the user
            User.objects.lock(draft.user.pk)
        usage.check_quota(draft.user)
        # This writes, and so makes all other sends to this thread wait. A title that somebody sets
        # or clears at this moment stays as they want it.
        if not statements.record_activity(thread.pk, "" if thread.title else title, now):
            raise Http404
        path = statements.path_to(thread, parent_of(draft, thread))
        if path and lifecycle.has_unsaved_text(path[-1]):
            raise ReplyInProgress
        prompt = window.plan(thread, path, draft.text, model_window)
        question = Message.objects.create(
            thread=thread,
            parent=path[-1] if path else None,
            sender=Sender.USER,
            content=draft.text,
            created_at=now,
        )
        start_id = prompt.start or question.pk
        reply = lifecycle.begin(
            thread=thread,
            parent=question,
            created_at=now,
            model=thread.model,
            context_start=start_id,
            context_key=window.front_key(thread, start_id, prompt.num_ctx),
            context_tokens=prompt.tokens,
            turns_kept=prompt.turns_kept,
            turns_dropped=prompt.turns_dropped,
        )
        if draft.key:
            Send.objects.create(
                user=draft.user, key=draft.key, digest=draft.digest, reply=reply, created_at=now
            )
    started = StartedReply(reply, thread, thread.title, thread.updated_at, prompt)
    thread.title, thread.updated_at = title, now
    return started


def parent_of(draft: Draft, thread: Thread) -> int | str | None:
    """Return the draft's parent. Raises `ApiError` for one that is not a reply of this thread."""
    if isinstance(draft.parent, int) and not (
        thread.messages.filter(pk=draft.parent, sender=Sender.BOT).exists()
    ):
        problem = "A message follows one of the bot's in the same thread."
        raise ApiError(problem, fields={"parent_id": [problem]})
    return draft.parent


def first_words(text: str) -> str:
    """Return the first words of a message, cut at a word, as its thread's title."""
    title = shorten(text, AUTOMATIC_TITLE_LENGTH, placeholder="…")
    return title if title != "…" else text.strip()[: AUTOMATIC_TITLE_LENGTH - 1] + "…"


def save_outcome(started: StartedReply, text: str, thinking: str, outcome: Outcome) -> None:
    """Store how a reply has ended, in its row and in `started.reply`.

    A model that failed before its first word leaves the thread as it was. A reply that was ended
    from elsewhere meanwhile keeps that status.
    """
    reply = started.reply
    reply.content, reply.thinking, reply.first_token_ms = text, thinking, outcome.first_token_ms
    reply.error_code = outcome.error.code if outcome.error else ""
    if outcome.stats:
        reply.prompt_tokens, reply.completion_tokens, reply.duration_ms, _ = outcome.stats

    # Where Ollama's report is missing, because the reply was cut short, the prompt's estimate
    # counts, and a token for each piece that came.
    prompt_tokens, completion_tokens, *_ = outcome.stats or (started.prompt.tokens, outcome.pieces)
    with transaction.atomic():
        # Locks are taken in the order in which deletions take them: thread, usage, message.
        if outcome.status == MessageStatus.FAILED and not text:
            Thread.objects.select_for_update().filter(pk=started.thread.pk).exists()
            if lifecycle.discard(reply):
                reply.status = outcome.status
                restore_thread(started)
                return
        usage.add(started.thread.user_id, reply.model, 1, prompt_tokens, completion_tokens)
        lifecycle.end(reply, outcome.status)


def restore_thread(started: StartedReply) -> None:
    """Give a thread the title and time it had before the message, unless they have changed."""
    thread, now = Thread.objects.filter(pk=started.thread.pk), started.thread
    thread.filter(updated_at=now.updated_at).update(updated_at=started.updated_before)
    thread.filter(title_is_given=False, title=now.title).update(title=started.title_before)


def save_checkpoint(texts: Iterable[tuple[int, str, str]]) -> dict[int, RowState]:
    """Store how far this process's replies are, with a heartbeat; return the state of their rows.

    `texts` has each reply's id, text and thinking. A reply that was deleted has no state.
    """
    texts = list(texts)
    with transaction.atomic():
        statements.save_texts(texts, timezone.now())
        states = Message.objects.filter(pk__in=[pk for pk, *_ in texts]).values_list(
            "pk", "status", "followed_at", "thread__user__is_active"
        )
        return {pk: RowState(status, followed, active) for pk, status, followed, active in states}


def has_unsaved_text(ids: Iterable[int]) -> bool:
    """Return whether any of these replies has a process that has not stored its end yet."""
    return any(map(lifecycle.has_unsaved_text, Message.objects.filter(pk__in=ids)))

"""Persists replies, from the message that asks for one to its end.

All of it is sync. What a function stores, it stores in one transaction; none is open while a prompt
is planned or the model writes.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import shorten
from typing import Any, NamedTuple, cast

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import formats, statements, usage
from chat.feed import log
from chat.models import Message, MessageStatus, Send, Sender, Thread
from chat.ollama.client import Stats
from chat.ollama.errors import CannotContinue
from chat.prompt import estimate, window
from chat.prompt.path import NO_LIMIT, read_path
from chat.prompt.turns import size_of
from chat.prompt.window import Prompt
from chat.replies import lifecycle, readers, turns
from chat.replies.drafts import Draft, Regeneration
from chat.replies.owner import this_process
from chat.replies.parameters import thread_as_seen
from core.errors import ApiError, NotAuthenticated

AUTOMATIC_TITLE_LENGTH = 60


class ReplyInProgress(ApiError):
    """The thread already has a running reply."""

    status, code = 409, "reply_in_progress"
    message = "This thread's last message is still being answered."


class IdempotencyKeyReused(ApiError):
    """An idempotency key came again with another message."""

    status, code = 409, "idempotency_key_reused"
    message = "This Idempotency-Key was sent with another message."


class BranchMoved(Exception):
    """Another message was added to the thread since it was read: plan again."""


class ThreadBefore(NamedTuple):
    """A thread's state before a message."""

    title: str
    updated_at: datetime
    current_message_id: int | None

    @classmethod
    def of(cls, thread: Thread) -> "ThreadBefore":
        """Return the state of a thread as it is now."""
        return cls(thread.title, thread.updated_at, thread.current_message_id)


@dataclass(slots=True)
class StartedReply:
    """A reply that was started, with its question, its thread as it was before, and its prompt."""

    reply: Message
    question: Message
    thread: Thread
    before: ThreadBefore
    prompt: Prompt
    written_tokens: int = 0  # of the text so far, where the reply is continued
    ended_before: Message | None = None  # the row as it had ended, where the reply goes on
    host: str = ""  # where it has its turn from the beginning

    @property
    def is_first_of_thread(self) -> bool:
        """Whether the thread was made with it: what is made in one transaction has one time."""
        return self.thread.created_at == self.reply.created_at


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reply has ended; `pieces` is how many came from the model, the last from `host`."""

    status: MessageStatus
    error: ApiError | None
    stats: Stats | None
    first_token_ms: int | None
    pieces: int
    host: str = ""


class RowState(NamedTuple):
    """What a reply's row tells the process that writes it."""

    status: str
    is_mine: bool  # unless another process has taken the reply over
    followed_ago: timedelta | None  # since a reader in another process last said that it is there
    user_is_active: bool


def find_repeated(draft: Draft | Regeneration) -> int | None:
    """Return the id of the reply that this draft's key started within a day, if any.

    One that was interrupted does not count: the message may be sent again.

    Raises `IdempotencyKeyReused` where that was for another message.
    """
    if not draft.key:
        return None
    sends = Send.objects.filter(user=draft.user, key=draft.key)
    send = sends.annotate(
        reply_status=F("reply__status"), thread_deleted_at=F("reply__thread__deleted_at")
    ).first()
    if send is None:
        return None
    is_expired = timezone.now() - send.created_at > Send.KEPT_FOR
    is_interrupted = send.reply_status == MessageStatus.INTERRUPTED
    if is_expired or is_interrupted or send.thread_deleted_at:  # and its row not deleted yet
        send.delete()
        return None
    if send.digest != draft.digest:
        raise IdempotencyKeyReused
    return send.reply_id


def start(draft: Draft | Regeneration, thread: Thread, model_window: int) -> StartedReply:
    """Store what a user sends, and the reply that this process is about to write.

    `thread` is as it was read, or one that is to be made with its first message. `model_window` is
    as for `window.plan`. Raises `ReplyInProgress` or `IntegrityError` where a reply of the thread
    is being written or a message was deleted meanwhile, `BranchMoved` where the thread is not as it
    was read, `Http404`, `QuotaExceeded`, `Busy`, and what `resolve` and `plan` raise.
    """
    is_new, before = thread._state.adding, ThreadBefore.of(thread)
    # Planned first: nobody else can write to SQLite while a transaction is open.
    asked = draft.resolve(thread)
    seen = asked.parameters.applied_to(thread)
    if asked.parent and lifecycle.has_unsaved_text(asked.parent):
        raise ReplyInProgress
    path = read_path(seen, asked.parent, model_window)
    prompt = window.plan(seen, path, asked.text, model_window)
    now, title = timezone.now(), thread.title or first_words(asked.text)
    with transaction.atomic():
        if (draft.key or is_new) and not User.objects.lock(draft.user.pk):
            raise NotAuthenticated  # what is stored with a user is stored after this
        usage.check_quota(draft.user)
        if is_new:
            thread = copy(thread)
            thread.title, thread.created_at, thread.updated_at = title, now, now
            thread.save(force_insert=True)
            seen = asked.parameters.applied_to(thread)
        # This makes all other sends to this thread wait. A title that somebody sets or clears at
        # this moment stays as they want it.
        elif not statements.record_activity(
            thread, "" if thread.title else title, now, only_if_unmoved=True
        ):
            raise BranchMoved if Thread.objects.filter(pk=thread.pk).exists() else Http404
        question = asked.question or statements.insert_message(
            thread=seen,
            parent=asked.parent,
            sender=Sender.USER,
            content=asked.text,
            created_at=now,
            tokens=prompt.question_tokens,
            estimator=estimate.VERSION,
        )
        reply = lifecycle.begin(
            thread=seen,
            parent=question,
            created_at=now,
            **asked.parameters.fields(seen),
            **context_of(prompt, seen, question),
        )
        host = turns.enqueue(reply, draft.user.pk)
        statements.set_current_message(seen, reply)
        if draft.key:
            Send.objects.create(
                user=draft.user, key=draft.key, digest=draft.digest, reply=reply, created_at=now
            )
    seen.title, seen.updated_at, seen.current_message = title, now, reply
    return StartedReply(reply, question, seen, before, prompt, host=host)


def context_of(prompt: Prompt, thread: Thread, question: Message) -> dict[str, Any]:
    """Return what a reply's row keeps of its prompt."""
    start_id = prompt.start or question.pk
    # A turn that was cut is sent whole again, or not at all: counts and cache end with this reply.
    key = "" if prompt.characters_cut else window.front_key(thread, start_id, prompt.num_ctx)
    return {
        "context_start": start_id,
        "context_key": key,
        "context_tokens": prompt.tokens,
        "turns_kept": len(prompt.turns),
        "turns_dropped": prompt.turns_dropped,
        "characters_cut": prompt.characters_cut,
    }


def first_words(text: str) -> str:
    """Return the first words of a message, cut at a word, as its thread's title."""
    title = shorten(text, AUTOMATIC_TITLE_LENGTH, placeholder="…")
    return title if title != "…" else text.strip()[: AUTOMATIC_TITLE_LENGTH - 1] + "…"


def take_over(orphan: Message, model_window: int) -> StartedReply | None:
    """Make this process the one that writes an orphaned reply; return None if others were faster.

    What the dead process had the model compute is counted as used. `model_window` is as for
    `window.plan`.
    """
    with transaction.atomic():
        if not lifecycle.take_over(orphan):
            return None
        reply = Message.objects.select_related("thread", "parent").get(pk=orphan.pk)
        usage.add(
            reply.thread.user_id,
            reply.model,
            0,
            reply.context_tokens or 0,
            reply.completion_tokens or 0,
        )
    return prepare_continuation(reply, model_window)


def continue_reply(reply: Message, model_window: int) -> StartedReply:
    """Have this process go on with a reply that has ended, from its last character.

    `model_window` is as for `window.plan`. Raises `CannotContinue` where the reply is complete or
    something follows it, `IntegrityError` where a reply of the thread is being written,
    `QuotaExceeded` and `Busy`.
    """
    with transaction.atomic():
        usage.check_quota(reply.thread.user)
        if not statements.record_activity(reply.thread, "", timezone.now(), only_if_unmoved=False):
            raise Http404
        if not lifecycle.reopen(reply):
            raise CannotContinue(
                "Only a reply that was cut short, and that nothing follows, can be continued."
            )
        host = turns.enqueue(reply, reply.thread.user_id)
        statements.set_current_message(reply.thread, reply)
    row = Message.objects.select_related("thread", "parent").get(pk=reply.pk)
    started = prepare_continuation(row, model_window)
    started.ended_before, started.host = reply, host
    return started


def prepare_continuation(reply: Message, model_window: int) -> StartedReply:
    """Return what is needed to go on with a reply of this process from its last character."""
    thread = thread_as_seen(reply)
    question = cast(Message, reply.parent)  # which a reply goes with
    path: Sequence[Message] = []
    if question.parent and reply.turns_kept:
        oldest = reply.context_start or 0
        path = statements.path_back(question.parent, oldest=oldest, tokens=NO_LIMIT)
    prompt = window.replan(thread, path, question, reply, model_window)
    before = ThreadBefore.of(thread)
    written_tokens = 0
    if reply.content:
        written_tokens = (
            reply.completion_tokens or size_of(reply) - estimate.TOKENS_AROUND_A_MESSAGE
        )
    return StartedReply(reply, question, thread, before, prompt, written_tokens)


def save_outcome(started: StartedReply, text: str, thinking: str, outcome: Outcome) -> None:
    """Store how a reply has ended, in its row and in `started.reply`. Raises `NotOwner`.

    A model that failed before its first word leaves the thread as it was, except for a reply in
    the background. A reply that was ended from elsewhere meanwhile keeps that status.
    """
    reply = started.reply
    reply.content, reply.thinking, reply.first_token_ms = text, thinking, outcome.first_token_ms
    reply.error_code = outcome.error.code if outcome.error else ""
    reply.prompt_tokens = reply.completion_tokens = reply.duration_ms = None
    reply.tokens, reply.estimator = None, None
    size_of(reply)
    if reply.format is not None and outcome.status == MessageStatus.COMPLETE:
        reply.format_valid = formats.is_valid(reply.format, text)
    if stats := outcome.stats:
        # The prompt of a reply that was continued had the text so far at its end.
        reply.prompt_tokens = max(0, stats.prompt_tokens - started.written_tokens)
        reply.completion_tokens = stats.completion_tokens + started.written_tokens
        reply.duration_ms = stats.duration_ms
        reply.finish_reason = stats.finish_reason

    context = context_of(started.prompt, started.thread, started.question)
    has_other_context = context["turns_dropped"] != reply.turns_dropped
    # Where Ollama's report is missing, because the reply was cut short, the prompt's estimate
    # counts, and a token for each piece that came.
    prompt_tokens = stats.prompt_tokens if stats else started.prompt.tokens
    completion_tokens = stats.completion_tokens if stats else outcome.pieces
    with transaction.atomic():
        # Locks are taken in the order in which deletions take them: thread, usage, message.
        before = started.ended_before
        if before and outcome.status == MessageStatus.FAILED and text == before.content:
            for field in ("error_code", "finish_reason", "prompt_tokens", "completion_tokens"):
                setattr(reply, field, getattr(before, field))
            lifecycle.end(reply, MessageStatus(before.status))
            reply.status = outcome.status  # for those who read along
            return
        if outcome.status == MessageStatus.FAILED and not text and reply.in_background:
            lifecycle.end(reply, outcome.status)  # its client is not there, and asks for it later
            return
        if outcome.status == MessageStatus.FAILED and not text:
            thread = Thread.objects.select_for_update(no_key=True)
            thread.filter(pk=started.thread.pk).exists()
            if lifecycle.discard(reply):
                reply.status = outcome.status
                restore_thread(started)
                return
        usage.add(started.thread.user_id, reply.model, 1, prompt_tokens, completion_tokens)
        if has_other_context:  # the model refused the first prompt as too long
            for name, value in context.items():
                setattr(reply, name, value)
            reply.save(update_fields=context)
        lifecycle.end(reply, outcome.status)


def hand_over(texts: Sequence[tuple[int, str, str, int]]) -> None:
    """Store how far these replies of this process are, and let go of them.

    `texts` is as for `save_checkpoint`.
    """
    with transaction.atomic():
        statements.save_texts(texts, this_process())
        lifecycle.hand_over([pk for pk, *_ in texts])


def restore_thread(started: StartedReply) -> None:
    """Give a thread what it was before a reply that is gone, unless it has changed.

    One that was made with that reply goes with it.
    """
    thread, now, before = (
        Thread.objects.filter(pk=started.thread.pk),
        started.thread,
        started.before,
    )
    if started.is_first_of_thread and not Message.objects.filter(thread=now.pk).exists():
        thread.delete()
        log.threads_deleted([(now.pk, now.user_id)])
        return
    end = before.current_message_id
    if end is not None and not Message.objects.filter(pk=end).exists():  # deleted meanwhile
        question = started.question
        still_there = Message.objects.filter(pk=question.pk).exists()
        last = question.pk if still_there else question.parent_id
        end = statements.newest_below(now.pk, last)
    thread.filter(current_message=started.reply.pk).update(current_message=end)
    thread.filter(updated_at=now.updated_at).update(updated_at=before.updated_at)
    thread.filter(title_is_given=False, title=now.title).update(title=before.title)


def save_checkpoint(
    ids: Sequence[int],
    changed: Iterable[tuple[int, str, str, int]],
    unread_for: Mapping[int, timedelta | None],
) -> dict[int, RowState]:
    """Store that the replies of this process are still being written, and the text that is new.

    `changed` has the id, text, thinking and number of tokens of those of `ids` that have changed
    since the last time; `unread_for` is as for `readers.save_unread`. Return the state of each row;
    a reply that was deleted has none.
    """
    with transaction.atomic():
        statements.save_heartbeats(ids, this_process())
        statements.save_texts(changed, this_process())
        readers.save_unread(unread_for)
        states = Message.objects.filter(pk__in=ids).values_list(
            "pk", "status", "owner", "followed_at", "thread__user__is_active", Now()
        )
        return {
            pk: RowState(status, owner == this_process(), followed_at and now - followed_at, active)
            for pk, status, owner, followed_at, active, now in states
        }


def has_unsaved_text(ids: Iterable[int]) -> bool:
    """Return whether any of these replies has a process that has not stored its end yet."""
    return any(map(lifecycle.has_unsaved_text, Message.objects.with_silence().filter(pk__in=ids)))

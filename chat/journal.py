"""What the database is told of a reply, from its beginning to its end.

All of it is sync, and each function is one transaction: none is open while the model writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from textwrap import shorten
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from chat import context, quota
from chat.context import Context
from chat.llm import Record
from chat.models import Message, Send, Sender, Status, Thread, Usage, this_process
from llama_chatbot import sql
from llama_chatbot.errors import ApiError

AUTOMATIC_TITLE_LENGTH = 60
# A reply's end, in its row; see `ending_of`.
END = """
    UPDATE chat_message SET status = %s, content = %s, thinking = %s, error_code = %s,
        prompt_tokens = %s, completion_tokens = %s, duration_ms = %s, first_token_ms = %s,
        heartbeat_at = NULL
    WHERE id = %s"""


class ReplyInProgress(ApiError):
    """The thread has a reply in the making, and takes one at a time."""

    status, code = 409, "reply_in_progress"
    message = "This thread's last message is still being answered."


class KeyReused(ApiError):
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
        """A name for what is sent."""
        return sha256(repr((self.thread_id, self.text, self.parent)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """A reply that was begun: its row, its thread as it was before, and what the model sees."""

    reply: Message
    thread: Thread
    title_before: str
    updated_before: datetime
    context: Context


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply has ended; `pieces` is how many came from the model."""

    status: Status
    error: ApiError | None
    record: Record | None
    first_token_ms: int | None
    pieces: int


class State(NamedTuple):
    """What a reply's row says to the process that writes it."""

    status: str
    followed_at: datetime | None
    user_is_active: bool


def repeated(draft: Draft) -> int | None:
    """Return the id of the reply that this draft's key began within a day, if any.

    Raises `KeyReused` where that was for another message.
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
        raise KeyReused
    return send.reply_id


def begin(draft: Draft, thread: Thread, window: int) -> Begun | int:
    """Store the user's message, and a reply that is being made, in the draft's thread.

    Where the draft's key has just begun a reply, return that one's id.
    `window` is as for `context.plan`. Raises `Http404`, `ReplyInProgress`,
    `QuotaExceeded`, and what `plan` raises.
    """
    try:
        return _begin(draft, thread, window)
    except (ReplyInProgress, IntegrityError):
        # Somebody else was faster, with the same key or in the same thread.
        if reply_id := repeated(draft):
            return reply_id
        if thread.messages.all().settle():
            raise ReplyInProgress from None
    # The process that wrote the thread's reply had died.
    try:
        return _begin(draft, thread, window)
    except IntegrityError:
        raise ReplyInProgress from None


def _begin(draft: Draft, thread: Thread, window: int) -> Begun:
    """Store both messages. Raises `IntegrityError` where one of the thread is being written."""
    now, title = timezone.now(), thread.title or first_words(draft.text)
    with transaction.atomic():
        if draft.key:  # which is stored with the user
            User.objects.hold(draft.user.pk)
        quota.check(draft.user)
        # This writes, and so makes all other sends to this thread wait.
        say(thread, title, now)
        path = thread.path_to(parent_of(draft, thread))
        if path and path[-1].may_grow:  # stopped, and its last words are still on their way
            raise ReplyInProgress
        planned = context.plan(thread, path, draft.text, window)
        question = Message(
            thread=thread,
            parent=path[-1] if path else None,
            sender=Sender.USER,
            content=draft.text,
            created_at=now,
        )
        sql.insert(question)
        start = planned.start or question.pk
        reply = Message(
            thread=thread,
            parent=question,
            sender=Sender.BOT,
            status=Status.GENERATING,
            created_at=now,
            model=thread.model,
            context_start=start,
            context_key=context.key_of(thread, start, planned.num_ctx),
            context_tokens=planned.tokens,
            turns_kept=planned.turns_kept,
            turns_dropped=planned.turns_dropped,
            owner=this_process(),
            heartbeat_at=now,
        )
        sql.insert(reply)
        if draft.key:
            Send.objects.create(
                user=draft.user, key=draft.key, digest=draft.digest, reply=reply, created_at=now
            )
    begun = Begun(reply, thread, thread.title, thread.updated_at, planned)
    thread.title, thread.updated_at = title, now
    return begun


def parent_of(draft: Draft, thread: Thread) -> int | str | None:
    """Return the draft's parent. Raises `ApiError` for one that is not a reply of this thread."""
    if isinstance(draft.parent, int) and not (
        thread.messages.filter(pk=draft.parent, sender=Sender.BOT).exists()
    ):
        problem = "A message follows one of the bot's in the same thread."
        raise ApiError(problem, fields={"parent_id": [problem]})
    return draft.parent


def say(thread: Thread, title: str, now: datetime) -> None:
    """Note that something is said in a thread, whose title this may be. Raises `Http404`."""
    note = """
        UPDATE chat_thread SET updated_at = %s, title = COALESCE(NULLIF(title, ''), %s)
        WHERE id = %s"""
    # Who gives it a title at this moment, or takes it away, has their way.
    if not sql.execute(note, now, "" if thread.title else title, thread.pk):
        raise Http404


def first_words(text: str) -> str:
    """Return the first words of a message, cut at a word, as its thread's title."""
    title = shorten(text, AUTOMATIC_TITLE_LENGTH, placeholder="…")
    return title if title != "…" else text.strip()[: AUTOMATIC_TITLE_LENGTH - 1] + "…"


def settle(begun: Begun, text: str, thinking: str, ending: Ending) -> None:
    """Store how a reply has ended, in its row and in `begun.reply`.

    A model that failed before its first word leaves the thread as it was. A reply that was ended
    from elsewhere meanwhile keeps that status.
    """
    reply = begun.reply
    reply.content, reply.thinking, reply.first_token_ms = text, thinking, ending.first_token_ms
    reply.status, reply.heartbeat_at = ending.status, None
    reply.error_code = ending.error.code if ending.error else ""
    if ending.record:
        reply.prompt_tokens, reply.completion_tokens, reply.duration_ms = ending.record

    row = Message.objects.filter(pk=reply.pk)
    # Where Ollama's record is missing, because the reply was cut short, the prompt's estimate
    # counts, and a token for each piece that came.
    prompt_tokens, completion_tokens, *_ = ending.record or (begun.context.tokens, ending.pieces)
    is_nothing = ending.status == Status.FAILED and not text
    with transaction.atomic():
        # Locks are taken in the order in which deletions take them: thread, usage, message.
        if is_nothing:
            Thread.objects.select_for_update().filter(pk=begun.thread.pk).exists()
            if row.generating().select_for_update().exists():
                discard(begun)
                return
        count_usage(begun.thread.user_id, reply.model, 1, prompt_tokens, completion_tokens)
        end = f"{END} AND status = %s"
        if not sql.execute(end, *ending_of(reply), Status.GENERATING):
            status = row.values_list("status", flat=True).first()
            reply.status = status or Status.STOPPED  # deleted with its thread or its user
            reply.error_code = ""
            sql.execute(END, *ending_of(reply))


def ending_of(reply: Message) -> tuple[Any, ...]:
    """Return the parameters of `END`."""
    return (
        reply.status,
        reply.content,
        reply.thinking,
        reply.error_code,
        reply.prompt_tokens,
        reply.completion_tokens,
        reply.duration_ms,
        reply.first_token_ms,
        reply.pk,
    )


def count_usage(
    user_id: int, model: str, replies: int, prompt_tokens: int, completion_tokens: int
) -> None:
    """Add to what a user has used of a model today."""
    today = timezone.now().date()
    count = """
        UPDATE chat_usage SET replies = replies + %s, prompt_tokens = prompt_tokens + %s,
            completion_tokens = completion_tokens + %s
        WHERE user_id = %s AND date = %s AND model = %s"""
    parameters = replies, prompt_tokens, completion_tokens, user_id, today, model
    if sql.execute(count, *parameters):
        return
    # The first use of a day makes the row, unless its user was deleted meanwhile.
    with transaction.atomic():
        if User.objects.hold(user_id):
            Usage.objects.get_or_create(user_id=user_id, date=today, model=model)
            sql.execute(count, *parameters)


def discard(begun: Begun) -> None:
    """Leave the thread as it was before the message."""
    thread = Thread.objects.filter(pk=begun.thread.pk)
    Message.objects.filter(children=begun.reply).delete()  # and with it the reply
    # Unless somebody has changed them meanwhile.
    thread.filter(updated_at=begun.thread.updated_at).update(updated_at=begun.updated_before)
    thread.filter(title_is_given=False, title=begun.thread.title).update(title=begun.title_before)


def checkpoint(texts: Iterable[tuple[int, str, str]]) -> dict[int, State]:
    """Store how far this process's replies are, and their heartbeat; return what became of them.

    `texts` has each reply's id, text and thinking. A reply that was deleted has no state.
    """
    now = sql.stored(timezone.now())
    rows = [(text, thinking, now, pk, Status.GENERATING) for pk, text, thinking in texts]
    with transaction.atomic(), connection.cursor() as cursor:
        # One statement for all of them; the ORM's bulk_update would compare every row with every
        # id.
        cursor.executemany(
            "UPDATE chat_message SET content = %s, thinking = %s, heartbeat_at = %s"
            " WHERE id = %s AND status = %s",
            rows,
        )
        states = Message.objects.filter(pk__in=[row[3] for row in rows]).values_list(
            "pk", "status", "followed_at", "thread__user__is_active"
        )
        return {pk: State(status, followed, active) for pk, status, followed, active in states}


def stop(which: Q) -> list[int]:
    """Mark running replies as stopped, whichever process writes them; return their ids.

    The process that writes one sees it at its next checkpoint.
    """
    with transaction.atomic():
        Message.objects.filter(which).settle()
        running = Message.objects.select_for_update(of=("self",)).filter(which).generating()
        ids = list(running.order_by("pk").values_list("pk", flat=True))
        Message.objects.filter(pk__in=ids).generating().update(status=Status.STOPPED)
    return ids


def may_grow(ids: Iterable[int]) -> bool:
    """Tell whether any of these replies has a process that has not stored its end yet."""
    return any(reply.may_grow for reply in Message.objects.filter(pk__in=ids))


def read(reply_id: int, *, following: bool) -> Message | None:
    """Return a reply as it is stored, settled if its process is dead.

    `following` tells the process that writes it that somebody reads along.
    """
    replies = Message.objects.filter(pk=reply_id)
    reply = replies.first()
    if reply and reply.status == Status.GENERATING:
        if reply.is_orphaned:
            replies.settle()
            return replies.first()
        if following:
            replies.update(followed_at=timezone.now())
    return reply

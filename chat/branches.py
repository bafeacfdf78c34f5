"""The messages of a thread as a tree: its branches are read, chosen, cut off and copied.

Each message has one parent, which is older, so a branch is the way from a message back to the
beginning. A thread's current branch ends in its `current_message`, or where that is None, in its
newest message.
"""

import asyncio
import contextvars
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.http import Http404
from django.utils import timezone

from accounts.authentication import unauthenticated_if_deleted
from accounts.models import User
from chat import statements
from chat.feed import log
from chat.models import Message, Send, Thread
from chat.replies import lifecycle
from chat.replies.positions import positions
from chat.replies.store import ReplyInProgress
from core import paging
from core.database import in_background, writers

DELETED_AT_ONCE = 1000  # messages in one transaction, for which others wait


def page(
    thread: Thread, limit: int, cursor: str, leaf: int | None
) -> tuple[Sequence[Message], str | None]:
    """Return up to `limit` messages of a branch with their siblings, newest first, and the cursor.

    It is the branch that ends in `leaf`, or the current one; with a cursor, the one it was made
    for. Raises `Http404` where `leaf` is not one of the thread's messages.
    """
    if cursor:
        end = int(paging.decode(cursor, thread)[0])
    elif leaf is not None:
        end = leaf
    else:
        end = end_of(thread) or 0
    messages = statements.page_of_branch(thread.pk, end, limit + 1)
    if leaf is not None and not messages:
        raise Http404
    newest, older = paging.page(messages, limit, thread, lambda m: (m.parent_id or 0,))
    add_siblings(newest)
    positions.add_to(newest)
    return newest, older


def end_of(thread: Thread) -> int | None:
    """Return the id of the last message of the current branch, None where there is none."""
    if thread.current_message_id is not None:
        return thread.current_message_id
    newest = Message.objects.filter(thread=thread).order_by("-pk").values_list("pk", flat=True)
    return newest.first()


def reply_to_follow(user: User, thread_id: int) -> Message | None:
    """Return a thread's running reply, or else the last reply of its current branch, if any.

    Raises `Http404`.
    """
    thread = statements.get_thread(user, thread_id)
    if running := Message.objects.generating().filter(thread=thread).first():
        return running
    end = statements.page_of_branch(thread.pk, end_of(thread) or 0, 2)
    return next((message for message in end if message.is_reply), None)


def add_siblings(messages: Sequence[Message]) -> None:
    """Set the `sibling_ids` of messages of one thread: all with the same parent, oldest first."""
    parents = {message.parent_id for message in messages}
    children: dict[int | None, list[int]] = {parent: [] for parent in parents}
    found = Message.objects.filter(parent__in=parents - {None}).order_by("pk")
    for pk, parent in found.values_list("pk", "parent_id"):
        children[parent].append(pk)
    if None in parents:
        roots = Message.objects.filter(thread=messages[0].thread_id, parent=None).order_by("pk")
        children[None] = list(roots.values_list("pk", flat=True))
    for message in messages:
        message.sibling_ids = children[message.parent_id]


def switch(user: User, thread_id: int, message_id: int) -> Thread:
    """Make the newest branch that goes through a message the current one; return the thread.

    Raises `Http404`.
    """
    with transaction.atomic():
        thread = lock(user, thread_id)
        end = statements.newest_below(thread.pk, message_id)
        if end is None:
            raise Http404
        thread.current_message_id = end
        thread.save(update_fields=["current_message"])
        log.thread_changed(thread.pk, user.pk)
    return thread


async def delete(user: User, thread_id: int, message_id: int) -> None:
    """Delete a message with all that follows it, the newest first.

    Raises `Http404`, and `ReplyInProgress` where one of them is being written.
    """

    async def run() -> None:
        is_some_left = await in_background(writers, delete_newest, user, thread_id, message_id)
        with suppress(Http404):  # where somebody else deletes the rest
            while is_some_left:
                is_some_left = await in_background(
                    writers, delete_newest, user, thread_id, message_id
                )

    # It goes on where the client leaves meanwhile, also when it has to be done in several steps.
    await asyncio.shield(asyncio.create_task(run(), context=contextvars.Context()))


def delete_newest(user: User, thread_id: int, message_id: int) -> bool:
    """Delete the newest of what `delete` deletes; return whether some is left."""
    with transaction.atomic():
        thread = lock(user, thread_id)
        ids = statements.ids_below(thread.pk, message_id)
        if not ids:
            raise Http404
        running = Message.objects.with_silence().generating().filter(thread=thread).first()
        if running and running.pk in ids:
            raise ReplyInProgress("It is still being written: stop it first.")
        if end_of(thread) in ids:
            parent_id = Message.objects.values_list("parent_id", flat=True).get(pk=message_id)
            thread.current_message_id = statements.newest_below(
                thread.pk, parent_id, but=message_id
            )
            thread.save(update_fields=["current_message"])
        batch = ids[-DELETED_AT_ONCE:]
        Send.objects.filter(reply__in=batch).delete()
        statements.delete_messages(batch)
        log.thread_changed(thread.pk, user.pk)
    return len(ids) > len(batch)


def fork(user: User, thread_id: int, message_id: int) -> Thread:
    """Return a new thread with copies of the messages up to this one.

    Raises `Http404`, and `ReplyInProgress` where the message is still being written.
    """
    thread = statements.get_thread(user, thread_id)
    message = Message.objects.with_silence().filter(thread=thread, pk=message_id).first()
    if message is None:
        raise Http404
    if lifecycle.has_unsaved_text(message):
        raise ReplyInProgress("This message is still being written.")
    now = timezone.now()
    with unauthenticated_if_deleted(user), transaction.atomic():
        copy = Thread.objects.create(
            user=user, created_at=now, updated_at=now, **settings_of(thread)
        )
        statements.copy_path(thread.pk, message_id, copy.pk)
        copy.current_message_id = end_of(copy)
        if copy.current_message_id is None:  # it was deleted just now
            raise Http404
        copy.save(update_fields=["current_message"])
        log.thread_changed(copy.pk, user.pk)
    return copy


def settings_of(thread: Thread) -> dict[str, Any]:
    """Return what a person has set of a thread."""
    names = ("title", "title_is_given", "model", "system_prompt", "options", "expires_at")
    return {name: getattr(thread, name) for name in names}


def lock(user: User, thread_id: int) -> Thread:
    """Return one of the user's threads, to which nobody adds anything until the transaction ends.

    Raises `Http404`.
    """
    locked = Thread.objects.select_for_update(no_key=True).filter(user=user, pk=thread_id)
    thread = locked.first()
    if thread is None:
        raise Http404
    return thread

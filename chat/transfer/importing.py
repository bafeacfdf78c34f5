"""Imports conversations into a user's account: each thread whole or not at all, and none twice."""

import time
from collections.abc import Collection, Iterator
from typing import IO, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.authentication import unauthenticated_if_deleted
from accounts.models import User
from chat import statements, threads
from chat.feed import log
from chat.models import Message, Sender, Thread
from chat.ollama import client
from chat.ollama.errors import ModelError
from chat.replies.store import first_words
from chat.search.index import BATCH, index_some
from chat.transfer import own, reading
from chat.transfer.archive import Source
from chat.transfer.conversation import ImportedThread, Skipped
from chat.transfer.reading import Found, NotReadable

MAX_THREADS = 20_000  # in one import
PROGRESS_SECONDS = 0.5
ALREADY = Skipped("already_there", "It was imported before.")
CHANGED = Skipped(
    "already_there",
    "It was imported before, and has changed since: delete it here to import it again.",
)
OLD = Skipped("expired", "It is older than what this server keeps.")

Line = dict[str, Any]


async def known_models() -> set[str] | None:
    """Return the names of the models that Ollama has, or None if it does not answer."""
    try:
        return {model["name"] for model in await client.models()}
    except ModelError:
        return None


def run(user: User, file: IO[bytes], models: Collection[str] | None) -> Iterator[Line]:
    """Import a file's conversations; yield what happens, as the lines that a client gets.

    `models` are the names of those that Ollama has, None where that is not known. Blocks on the
    database between the lines. Raises `NotReadable`, in the middle too.
    """
    source = Source(file)
    count = {"threads": 0, "messages": 0, "skipped": 0, "already_there": 0}
    told_at = time.monotonic()
    for found in (found for part in source.files() for found in reading.conversations(part)):
        line = _import(user, found, models)
        if line["type"] == "thread":
            count["threads"] += 1
            count["messages"] += line["messages"]
        else:
            count["already_there" if line["code"] == "already_there" else "skipped"] += 1
        if sum(count.values()) - count["messages"] > MAX_THREADS:
            raise NotReadable(f"The file has more than {MAX_THREADS:,} conversations.")
        yield line
        if time.monotonic() - told_at > PROGRESS_SECONDS:
            told_at = time.monotonic()
            yield {"type": "progress", "bytes": source.position, "of": source.size}
    yield {"type": "end", **count}


def _import(user: User, found: Found, models: Collection[str] | None) -> Line:
    """Import one conversation; return the line that says what became of it."""
    try:
        if isinstance(found.thread, Skipped):
            raise found.thread
        thread = store(user, found.thread, models)
    except Skipped as skipped:
        return {
            "type": "skipped",
            "title": found.title,
            "code": skipped.code,
            "reason": skipped.reason,
        }
    for _ in range(0, len(found.thread.messages) + 1, BATCH):  # as many as have come
        index_some()
    return {
        "type": "thread",
        "thread_id": thread.pk,
        "title": thread.title,
        "messages": len(found.thread.messages),
        "left_out": dict(found.thread.left_out),
    }


def store(user: User, imported: ImportedThread, models: Collection[str] | None) -> Thread:
    """Store a conversation as a thread of the user. Raises `Skipped` where it is left out."""
    imported.check()
    if not imported.messages and not imported.is_ours:
        raise Skipped("no_messages", "It has no messages.")
    _refuse_known(user, imported)
    rows = list(_rows(imported))
    moments = [row.created_at for row in rows]
    created_at = imported.created_at or min(moments, default=timezone.now())
    updated_at = imported.updated_at or max([created_at, *moments])
    if settings.CHAT_KEEP_DAYS and updated_at <= threads.oldest_kept():
        raise OLD
    try:
        with unauthenticated_if_deleted(user), transaction.atomic():
            thread = Thread.objects.create(
                user=user,
                created_at=created_at,
                updated_at=updated_at,
                source_key=imported.key,
                source_digest=imported.digest,
                **_settings(imported, models),
            )
            for row in rows:
                row.thread = thread
            Message.objects.bulk_create(rows)
            ids = {message.id: row.pk for message, row in zip(imported.messages, rows, strict=True)}
            statements.set_parents(
                (ids[message.id], ids[message.parent_id])
                for message in imported.messages
                if message.parent_id is not None
            )
            if imported.current_id in ids:
                thread.current_message_id = ids[imported.current_id]
                thread.save(update_fields=["current_message"])
            log.thread_changed(thread.pk, user.pk)
    except IntegrityError:
        _refuse_known(user, imported)  # it was imported just now
        raise
    return thread


def _refuse_known(user: User, imported: ImportedThread) -> None:
    """Raise `Skipped` for a conversation that the user already has."""
    known = Thread.all_objects.filter(user=user, source_key=imported.key, deleted_at=None).first()
    if known:
        raise ALREADY if known.source_digest == imported.digest else CHANGED
    if imported.created_at is None:
        return
    of_that_moment = Thread.objects.filter(user=user, created_at=imported.created_at)
    if any(own.key_of_thread(thread) == imported.key for thread in of_that_moment):
        raise Skipped("already_there", "It was exported from here, and is here still.")


def _settings(imported: ImportedThread, models: Collection[str] | None) -> dict[str, Any]:
    """Return the thread's title and model, and what else comes along."""
    title, model = imported.title, imported.model
    settings_of_thread = dict(imported.fields)
    if not imported.is_ours:
        settings_of_thread["title_is_given"] = bool(title)
        question = next((m for m in imported.messages if m.sender == Sender.USER), None)
        title = title or (first_words(question.content) if question else "")
        if models is None or client.full_name(model) not in models:
            model = ""  # of another provider, as a rule
    return {"title": title, "model": model or settings.OLLAMA_MODEL, **settings_of_thread}


def _rows(imported: ImportedThread) -> Iterator[Message]:
    """Yield the messages as rows without thread and parent, the time of each or of the last one."""
    moment = imported.created_at or timezone.now()
    for message in imported.messages:
        moment = message.created_at or moment
        yield Message(
            sender=message.sender,
            content=message.content,
            thinking=message.thinking,
            model=message.model,
            status=message.status,
            created_at=moment,
            **message.fields,
        )

"""Has the model write a thread's title, in place of its first words (`CHAT_TITLES=model`).

The model is asked within the conversation, after its first reply has ended, so that its prompt
cache holds everything but the question, and is still useful for the user's next message. The window
is the same as for replies, or Ollama would reload the model.

A thread names the process that is to write its title, from the beginning of its first reply until
that is done. When the process has died, the sweep of another writes the title.
"""

import asyncio
import contextvars
import logging
import re
from collections.abc import Coroutine
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from chat import usage
from chat.feed import log
from chat.models import Message, MessageStatus, Sender, Thread
from chat.ollama import client
from chat.ollama.client import ChatMessage, Stats
from chat.ollama.errors import ModelError
from chat.prompt.estimate import estimate
from chat.prompt.marks import neutralize_markup
from chat.replies import registry, store, workers
from chat.replies.live import LiveReply
from chat.replies.owner import NOBODY, may_be_alive, this_process
from chat.replies.store import StartedReply, first_words
from chat.replies.turns import Ticket
from core.database import in_background, writers

TITLE_TOKENS = 32
QUESTION = (
    "Give this conversation a title of two to six words, in its own language. "
    "Answer with the title alone."
)
AROUND_A_TITLE = " \t*#_\"'`“”„«»「」《》."
# Some models think in the text itself; their template may have opened the tag for them.
THOUGHTS = re.compile(r"\A(?:.*</think>|\s*<think>.*)", re.DOTALL)
# A bullet or an introduction. A number above 1 is more likely part of the title.
# Without the limits a long line could take minutes.
BEFORE_A_TITLE = re.compile(
    r"\A(?:[-•]\s+|1[.)]\s+)?"
    r"(?:.*[:\uff1a]\Z"  # the title is on the next line
    r"|.{0,40}?\bhere(?:['\u2019]s| is)\b[^:]{0,40}\btitle\b[^:]{0,80}:"
    r"|[*_\"']*(?:\w+[!.,]\s+)?(?:the\s+)?title[*_\"']*\s*[:\uff1a])?",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)


def write_after(reply: LiveReply) -> None:
    """Have the model write a title after this reply, if it is its thread's first."""
    if settings.CHAT_TITLES == "model" and not reply.started.before.title:
        _keep(_write_after(reply))


async def carry_on() -> None:
    """Have those titles written whose process has ended, once the reply before them has."""
    if settings.CHAT_TITLES != "model" or registry.current.is_draining:
        return
    for thread_id, owner in await in_background(writers, find_orphans):
        if await in_background(writers, take, thread_id, title_owner=owner):
            _keep(_carry_on(thread_id))


def _keep(writing: Coroutine[Any, Any, None]) -> None:
    # A context of its own: a title outlives the request that its reply began with.
    task = asyncio.get_running_loop().create_task(writing, context=contextvars.Context())
    registry.current.keep(task)


async def _write_after(reply: LiveReply) -> None:
    thread_id = reply.started.thread.pk
    try:
        await in_background(writers, take, thread_id)
        await asyncio.wait([reply.task])
        if reply.is_elsewhere:
            await in_background(writers, give, thread_id, NOBODY)
        else:
            await _write(reply.started)
    except DatabaseError as error:
        logger.warning("Thread %s keeps its first words as its title: %s", thread_id, error)


async def _carry_on(thread_id: int) -> None:
    try:
        reply = await in_background(writers, first_reply, thread_id)
        if reply is None:
            await in_background(writers, give, thread_id, None)
            return
        window = await client.window(reply.model)
        await _write(await in_background(writers, store.prepare_continuation, reply, window))
    except (ModelError, DatabaseError) as error:
        # When this process ends, another will try again.
        logger.warning("Thread %s keeps its first words as its title: %s", thread_id, error)


def find_orphans() -> list[tuple[int, str]]:
    """Return the threads whose title nobody writes any more, and who was to; none whose reply runs.

    Blocks on the database.
    """
    running = Message.objects.generating().filter(thread=OuterRef("pk"))
    waiting = Thread.objects.filter(~Exists(running), title_owner__isnull=False)
    others = waiting.exclude(title_owner=this_process()).values_list("pk", "title_owner")
    found = [(pk, str(owner)) for pk, owner in others]
    alive = workers.alive() if found else set()
    return [each for each in found if each[1] not in alive or not may_be_alive(each[1])]


def take(thread_id: int, **of: str) -> bool:
    """Make this process write a thread's title, if `of` is true of it; return whether it is to."""
    untaken = Thread.objects.filter(pk=thread_id, **of)
    return bool(untaken.update(title_owner=this_process()))


def give(thread_id: int, owner: str | None) -> None:
    """Have another process write a thread's title, or with None nobody."""
    Thread.objects.filter(pk=thread_id, title_owner=this_process()).update(title_owner=owner)


def first_reply(thread_id: int) -> Message | None:
    """Return a thread's first reply; blocks on the database."""
    replies = Message.objects.select_related("thread", "parent").filter(sender=Sender.BOT)
    return replies.filter(thread=thread_id, thread__title_is_given=False).order_by("pk").first()


async def _write(started: StartedReply) -> None:
    reply, thread = started.reply, started.thread
    # A title that was changed meanwhile stays.
    untitled = Thread.objects.filter(
        pk=thread.pk, title=thread.title, title_is_given=False, user__is_active=True
    )
    try:
        if (
            reply.status in (MessageStatus.COMPLETE, MessageStatus.STOPPED)
            and reply.content
            and has_room_for_title(started)
            and await in_background(writers, untitled.exists)
        ):
            if registry.current.is_draining:
                return  # another process writes it
            title, stats = await ask(started)
            await in_background(
                writers,
                usage.add,
                thread.user_id,
                reply.model,
                replies=0,
                prompt_tokens=stats.prompt_tokens,
                completion_tokens=stats.completion_tokens,
            )
            if title:
                await in_background(writers, retitle, untitled, thread, title)
    except ModelError as error:
        logger.warning("Thread %s keeps its first words as its title: %s", thread.pk, error)
    await in_background(writers, give, thread.pk, None)


def retitle(untitled: QuerySet[Thread], thread: Thread, title: str) -> None:
    """Give a thread a title if it is still `untitled`."""
    with transaction.atomic():
        if untitled.update(title=title, title_owner=None):
            log.thread_changed(thread.pk, thread.user_id)


def has_room_for_title(started: StartedReply) -> bool:
    """Return whether the conversation and the question for a title fit the window."""
    row, prompt = started.reply, started.prompt
    if row.prompt_tokens is None or row.completion_tokens is None:
        size = prompt.tokens + estimate(row.content)
    else:
        size = row.prompt_tokens + row.completion_tokens
    return size + estimate(QUESTION) + TITLE_TOKENS <= prompt.model_window


async def ask(started: StartedReply) -> tuple[str, Stats]:
    """Return the model's title for a conversation, and what it cost. Raises `ModelError`."""
    prompt, thread, model = started.prompt, started.thread, started.reply.model
    messages = [
        *prompt.messages,
        ChatMessage(role="assistant", content=neutralize_markup(started.reply.content)),
        ChatMessage(role="user", content=QUESTION),
    ]
    pieces: list[str] = []
    ticket = Ticket(thread.user_id, model, str(thread.pk))
    async with registry.current.queue.turn(ticket) as host:
        stats = await client.chat(
            host,
            model,
            messages,
            {"num_ctx": prompt.model_window, "num_predict": TITLE_TOKENS},
            lambda text, thinking: pieces.append(text),
            think=False,
        )
    return clean_title("".join(pieces)), stats


def clean_title(answer: str) -> str:
    """Return the title in a model's answer, without what models tend to put around it.

    Return nothing if no line has a letter or a digit beside that.
    """
    for line in THOUGHTS.sub("", answer).splitlines():
        title = BEFORE_A_TITLE.sub("", line.strip(AROUND_A_TITLE)).strip(AROUND_A_TITLE)
        if re.search(r"\w", title):
            return first_words(title)
    return ""

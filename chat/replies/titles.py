"""Has the model write a thread's title, in place of its first words (`CHAT_TITLES=model`).

The model is asked within the conversation, after its first reply has ended, so that its prompt
cache holds everything but the question, and is still useful for the user's next message. The window
is the same as for replies, or Ollama would reload the model.
"""

import asyncio
import contextvars
import logging
import re

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import QuerySet

from chat import usage
from chat.feed import log
from chat.models import MessageStatus, Thread
from chat.ollama import client
from chat.ollama.client import ChatMessage, Stats
from chat.ollama.errors import ModelError
from chat.prompt.estimate import estimate
from chat.prompt.marks import neutralize_markup
from chat.replies import registry
from chat.replies.live import LiveReply
from chat.replies.store import first_words
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
        task = reply.loop.create_task(_write(reply), context=contextvars.Context())
        registry.current.keep(task)


async def _write(reply: LiveReply) -> None:
    await asyncio.wait([reply.task])
    if (
        reply.started.reply.status not in (MessageStatus.COMPLETE, MessageStatus.STOPPED)
        or not reply.text
    ):
        return
    thread = reply.started.thread
    # A title that was changed meanwhile stays.
    untitled = Thread.objects.filter(
        pk=thread.pk, title=thread.title, title_is_given=False, user__is_active=True
    )
    try:
        if (
            registry.current.is_draining
            or not has_room_for_title(reply)
            or not await in_background(writers, untitled.exists)
        ):
            return
        title, stats = await ask(reply)
        await in_background(
            writers,
            usage.add,
            thread.user_id,
            reply.started.reply.model,
            replies=0,
            prompt_tokens=stats.prompt_tokens,
            completion_tokens=stats.completion_tokens,
        )
        if title:
            await in_background(writers, retitle, untitled, thread, title)
    except (ModelError, DatabaseError) as error:
        logger.warning("Thread %s keeps its first words as its title: %s", thread.pk, error)


def retitle(untitled: QuerySet[Thread], thread: Thread, title: str) -> None:
    """Give a thread a title if it is still `untitled`."""
    with transaction.atomic():
        if untitled.update(title=title):
            log.thread_changed(thread.pk, thread.user_id)


def has_room_for_title(reply: LiveReply) -> bool:
    """Return whether the conversation and the question for a title fit the window."""
    row, prompt = reply.started.reply, reply.started.prompt
    if row.prompt_tokens is None or row.completion_tokens is None:
        size = prompt.tokens + estimate(reply.text)
    else:
        size = row.prompt_tokens + row.completion_tokens
    return size + estimate(QUESTION) + TITLE_TOKENS <= prompt.model_window


async def ask(reply: LiveReply) -> tuple[str, Stats]:
    """Return the model's title for a conversation, and what it cost. Raises `ModelError`."""
    prompt, thread = reply.started.prompt, reply.started.thread
    model = reply.started.reply.model
    messages = [
        *prompt.messages,
        ChatMessage(role="assistant", content=neutralize_markup(reply.text)),
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

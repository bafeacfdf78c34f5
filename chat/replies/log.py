"""The log of replies: one line each time one ends, with its fields for logs of other formats too.

None has a text of a user or of the model.
"""

import logging
from typing import NamedTuple

from chat.models import Message, MessageStatus
from chat.ollama.placement import without_password
from chat.replies.store import Outcome, StartedReply
from core import metrics

FAILURES = (MessageStatus.FAILED, MessageStatus.INTERRUPTED)

logger = logging.getLogger(__name__)


class ReplyEnd(NamedTuple):
    """What a line says; None for what is not known.

    Where Ollama has not counted the tokens, they are the estimate of the prompt and the number of
    pieces that came. `milliseconds` is for how long the last process wrote the reply.
    """

    status: MessageStatus
    model: str
    code: str | None = None  # of the error
    finish_reason: str | None = None
    host: str | None = None
    reply_id: int | None = None
    thread_id: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_ms: int | None = None
    milliseconds: int | None = None


def write(end: ReplyEnd) -> None:
    """Write the line of a reply that has ended, and count it."""
    fields = {**end._asdict(), "status": str(end.status)}
    known = (f"{name}={value}" for name, value in fields.items() if value is not None)
    level = logging.WARNING if end.status in FAILURES else logging.INFO
    metrics.reply_ended(str(end.status), end.code or "", end.model, end.milliseconds)
    logger.log(level, "Reply ended: %s", " ".join(known), extra=fields)


def write_own(started: StartedReply, outcome: Outcome, milliseconds: int) -> None:
    """Write the line of a reply whose end this process has stored."""
    reply, stats = started.reply, outcome.stats
    if reply.status == MessageStatus.INTERRUPTED != outcome.status:
        return  # another process took it for an orphan, ended it, and has written the line
    failed = reply.status == MessageStatus.FAILED and outcome.error
    write(
        ReplyEnd(
            status=MessageStatus(reply.status),
            model=reply.model,
            code=outcome.error.code if failed and outcome.error else None,
            finish_reason=stats.finish_reason if stats else None,
            host=without_password(outcome.host) or None,
            reply_id=reply.pk,
            thread_id=reply.thread_id,
            prompt_tokens=stats.prompt_tokens if stats else started.prompt.tokens,
            completion_tokens=stats.completion_tokens if stats else outcome.pieces,
            first_token_ms=outcome.first_token_ms,
            milliseconds=milliseconds,
        )
    )


def write_orphan(orphan: Message, status: MessageStatus) -> None:
    """Write the line of a reply that has ended without the process that wrote it."""
    write(
        ReplyEnd(status=status, model=orphan.model, reply_id=orphan.pk, thread_id=orphan.thread_id)
    )

"""A thread as Markdown, for a person to read: its current branch."""

from collections.abc import Iterator
from datetime import datetime
from unicodedata import category

from chat import branches, statements
from chat.models import Message, MessageStatus, Thread
from chat.transfer.export import pieces

READ_AT_ONCE = 200
ENDS = {
    MessageStatus.GENERATING: "still being written",
    MessageStatus.STOPPED: "stopped",
    MessageStatus.INTERRUPTED: "interrupted",
    MessageStatus.FAILED: "failed",
}


def export_thread(thread: Thread) -> Iterator[bytes]:
    """Yield the thread in pieces."""
    return pieces(text.encode() for text in _parts(thread))


def file_name(thread: Thread, extension: str) -> str:
    """Return a file name for the thread that every system accepts."""
    kept = (c if category(c)[0] in "LNM" or c in " -_" else " " for c in thread.title)
    return f"{' '.join(''.join(kept).split())[:80] or 'conversation'}.{extension}"


def _parts(thread: Thread) -> Iterator[str]:
    yield f"# {thread.title or 'New Chat'}\n\n"
    yield f"Begun {_time(thread.created_at)}, last changed {_time(thread.updated_at)}.\n"
    if thread.system_prompt:
        yield "\n" + "".join(f"> {line}\n" for line in thread.system_prompt.splitlines())
    for message in _branch(thread):
        who = (message.model or "Assistant") if message.is_reply else "You"
        end = ENDS.get(MessageStatus(message.status))
        yield f"\n## {who}\n\n*{_time(message.created_at)}{f', {end}' if end else ''}*\n\n"
        if message.thinking:
            yield "<details><summary>Thoughts</summary>\n\n"
            yield f"{message.thinking.strip()}\n\n</details>\n\n"
        if message.content:
            yield f"{message.content.strip()}\n"


def _branch(thread: Thread) -> Iterator[Message]:
    """Yield the messages of the current branch, the oldest first."""
    ids: list[int] = []
    end = branches.end_of(thread)
    while end is not None:
        page = statements.page_of_branch(thread.pk, end, READ_AT_ONCE)
        ids += (message.pk for message in page)
        end = page[-1].parent_id if page else None
    ids.reverse()
    for start in range(0, len(ids), READ_AT_ONCE):
        messages = Message.objects.filter(pk__in=ids[start : start + READ_AT_ONCE])
        yield from messages.order_by("pk")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"

"""Replies and their threads as they are stored."""

from chat.models import Message, Sender, Thread
from testing.waiting import wait_until


def reply_of(thread: Thread) -> Message:
    """Return the newest reply of a thread, as it is stored."""
    return Message.objects.filter(thread=thread, sender=Sender.BOT).latest("pk")


def wait_for_status(thread: Thread, status: str, timeout: float = 5.0) -> Message:
    """Wait until the thread's newest reply has this status, and return it."""
    wait_until(
        lambda: reply_of(thread).status == status,
        timeout,
        lambda: f"the reply is {reply_of(thread).status}, not {status}",
    )
    return reply_of(thread)


def wait_for_text(thread: Thread, text: str) -> None:
    """Wait until this much of the thread's newest reply is stored."""
    wait_until(lambda: reply_of(thread).content == text, 5, f"{text!r} was never stored")


def wait_for_checkpoints(thread: Thread, number: int) -> None:
    """Wait until the thread's running reply has had this number of further checkpoints."""
    for _ in range(number):
        before = reply_of(thread).heartbeat_at
        wait_until(lambda before=before: reply_of(thread).heartbeat_at != before)  # type: ignore[misc]


def is_as_it_was(thread: Thread) -> bool:
    """Return whether a thread is what it was when it was created or last read."""
    now = Thread.objects.get(pk=thread.pk)
    return (now.title, now.updated_at) == (thread.title, thread.updated_at)

"""Trees of messages, stored without the API."""

from collections.abc import Sequence

from django.core.management.color import no_style
from django.db import connection

from chat.models import Message, MessageStatus, Sender, Thread


def grow(thread: Thread, parents: Sequence[int | None], text: str = "") -> list[Message]:
    """Store a message for each entry: the index of its parent among them, or None for a root.

    Messages of users and of the bot take turns on each branch, and each says its own index.
    """
    first = (Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    messages: list[Message] = []
    for number, parent in enumerate(parents):
        follows_user = parent is not None and messages[parent].sender == Sender.USER
        messages.append(
            Message(
                pk=first + number,
                thread=thread,
                parent_id=None if parent is None else first + parent,
                sender=Sender.BOT if follows_user else Sender.USER,
                content=f"{number}{text}",
            )
        )
    Message.objects.bulk_create(messages, batch_size=5000)
    if connection.vendor == "postgresql":  # whose sequence knows nothing of given ids
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(no_style(), [Message]):
                cursor.execute(statement)
    return messages


def chain(length: int) -> list[int | None]:
    """Return the parents of a tree that has one branch."""
    return [None, *range(length - 1)]


def require_tree(thread: Thread) -> None:
    """Fail unless a thread's messages are a tree whose current branch has an end."""
    thread = Thread.objects.get(pk=thread.pk)
    messages = {message.pk: message for message in Message.objects.filter(thread=thread)}
    for message in messages.values():
        parent = message.parent_id
        assert parent is None or (parent in messages and parent < message.pk), message.pk
        assert message.status != MessageStatus.GENERATING, message.pk
    parents = {message.parent_id for message in messages.values()}
    if messages:
        assert thread.current_message_id in messages
        assert thread.current_message_id not in parents, "the current branch goes on"
    else:
        assert thread.current_message_id is None

"""The statements that are told without the ORM do what it would do."""

import pytest
from django.db import connection
from django.utils import timezone

from chat.models import Message, Sender, Status, Thread
from llama_chatbot import sql
from llama_chatbot.tests.people import create_user

pytestmark = pytest.mark.usefixtures("database")


def a_message(content: str) -> Message:
    user = create_user("ann")
    return Message(
        thread=Thread.objects.create(user=user),
        sender=Sender.BOT,
        status=Status.GENERATING,
        content=content,
        created_at=timezone.now(),
        context_start=2**40,
        heartbeat_at=timezone.now(),
    )


def everything_of(message: Message) -> dict[str, object]:
    row = Message.objects.filter(pk=message.pk).values().get()
    return {name: value for name, value in row.items() if name != "id"}


def test_an_inserted_row_is_the_one_that_save_would_have_stored() -> None:
    inserted = a_message("¡Hola, 世界! It's 100 % true.")
    saved = Message(**{f.attname: getattr(inserted, f.attname) for f in Message._meta.fields})
    saved.status = Status.COMPLETE  # one reply of a thread runs at a time

    sql.insert(inserted)
    saved.save()

    assert inserted.pk and inserted.pk != saved.pk
    assert everything_of(inserted) == {**everything_of(saved), "status": Status.GENERATING}


def test_an_inserted_row_can_be_saved_and_deleted_like_any_other() -> None:
    message = a_message("one")
    sql.insert(message)

    message.content = "two"
    message.save()

    assert [message.content for message in Message.objects.all()] == ["two"]
    message.delete()
    assert not Message.objects.exists()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only old SQLite cannot return columns")
def test_a_row_gets_its_key_from_an_sqlite_that_cannot_return_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    message = a_message("one")

    sql.insert(message)

    assert Message.objects.get() == message


def test_a_statement_tells_how_many_rows_it_has_changed() -> None:
    thread = Thread.objects.create(user=create_user("ann"))
    now = timezone.now()
    change = "UPDATE chat_thread SET updated_at = %s WHERE id = %s"

    assert sql.execute(change, now, thread.pk) == 1
    assert sql.execute(change, now, thread.pk + 1) == 0
    assert Thread.objects.get(updated_at=now) == thread

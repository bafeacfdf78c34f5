"""Export, delete the account, import into a new one: everything is as it was."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from chat.models import Message, MessageStatus, Sender, Thread
from chat.transfer import export, importing
from chat.transfer.reading import NotReadable
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")

# Whatever PostgreSQL stores: all characters but NUL and lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
counts = st.none() | st.integers(0, 2**31 - 1)
moments = st.datetimes(
    datetime(1970, 1, 2),
    datetime(2900, 1, 1),
    timezones=st.just(UTC),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "seed": st.integers(0, 2**31 - 1),
        "stop": st.lists(names, min_size=1, max_size=3),
    },
)
replies = st.fixed_dictionaries(
    {
        "sender": st.just(Sender.BOT),
        "content": texts,
        "thinking": texts,
        "created_at": moments,
        "model": names,
        "status": st.sampled_from([s for s in MessageStatus if s != MessageStatus.GENERATING]),
        "options": st.none() | options,
        "error_code": st.sampled_from(["", "model_timeout"]),
        "finish_reason": st.sampled_from(["", "stop", "length"]),
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "duration_ms": counts,
        "first_token_ms": counts,
        "turns_kept": counts,
        "turns_dropped": counts,
        "characters_cut": counts,
        "rating": st.sampled_from([None, 1, -1]),
    }
)
questions = st.fixed_dictionaries(
    {"sender": st.just(Sender.USER), "content": texts, "created_at": moments}
)
# Each message with a number that chooses its parent among those before it, and none.
trees = st.lists(st.tuples(questions | replies, st.integers(0, 2**31)), max_size=12)
threads = st.fixed_dictionaries(
    {
        "title": st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
        "title_is_given": st.booleans(),
        "model": names,
        "system_prompt": st.none() | texts,
        "options": options,
        "created_at": moments,
        "updated_at": moments,
        "pinned": st.booleans(),
        "archived": st.booleans(),
        "expires_at": st.none() | st.just(datetime(2950, 1, 1, tzinfo=UTC)),
    }
)
accounts = st.lists(st.tuples(threads, trees, st.integers(0, 2**31)), max_size=4)


def store(user: User, account: list[Any]) -> None:
    """Store threads as Hypothesis has made them up."""
    for fields, messages, current in account:
        thread = Thread.objects.create(user=user, **fields)
        rows: list[Message] = []
        for message, choice in messages:
            parent = (choice % (len(rows) + 1)) - 1
            rated = {"rated_at": fields["created_at"]} if message.get("rating") else {}
            rows.append(
                thread.messages.create(
                    parent=rows[parent] if parent >= 0 else None, **message, **rated
                )
            )
        if rows and current % 3:
            thread.current_message = rows[current % len(rows)]
            thread.save()


def lines_of(user: User) -> list[dict[str, Any]]:
    """Return the lines of the user's threads and messages, with numbers in the place of ids."""
    numbers: dict[Any, int] = {None: 0}
    lines = []
    for line in export.account_lines(user):
        if line["type"] in ("thread", "message", "thread_end"):
            numbers.setdefault((line["type"][:6], line["id"]), len(numbers))
            plain = {**line, "id": 0}
            for name in ("thread_id", "parent_id", "current_message_id"):
                if line.get(name) is not None:
                    kind = "thread" if name == "thread_id" else "messag"
                    plain[name] = (kind, line[name])
            lines.append(plain)
    for line in lines:
        for name in ("thread_id", "parent_id", "current_message_id"):
            if line.get(name) is not None:
                line[name] = numbers[line[name]]
    return lines


@given(account=accounts)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_account_that_comes_back_is_as_it_was(each_database: None, account: list[Any]) -> None:
    ann = create_user("ann")
    try:
        store(ann, account)
        before = lines_of(ann)
        file = b"".join(export.export_account(ann))
        ann.delete()

        bob = create_user("bob")
        *_, end = importing.run(bob, io.BytesIO(file), None)

        assert end["threads"] == len(account)
        assert end["skipped"] == end["already_there"] == 0
        assert lines_of(bob) == before
        again = list(importing.run(bob, io.BytesIO(file), None))[-1]
        assert (again["threads"], again["already_there"]) == (0, len(account))
    finally:
        User.all_objects.all().delete()


def test_a_single_thread_comes_back_too(each_database: None) -> None:
    ann, bob = create_user("ann"), create_user("bob")
    thread = Thread.objects.create(user=ann, model="tiny", title="Llamas")
    question = thread.messages.create(sender=Sender.USER, content="?")
    thread.messages.create(sender=Sender.BOT, content="!", parent=question, model="tiny")

    file = b"".join(export.export_thread(thread))
    line, end = importing.run(bob, io.BytesIO(file), None)

    assert (line["type"], line["messages"]) == ("thread", 2)
    assert end["threads"] == 1
    assert lines_of(bob) == lines_of(ann)


def test_a_reply_that_was_being_written_comes_back_as_interrupted(each_database: None) -> None:
    ann, bob = create_user("ann"), create_user("bob")
    thread = Thread.objects.create(user=ann, model="tiny")
    thread.messages.create(sender=Sender.BOT, content="half", status=MessageStatus.GENERATING)

    list(importing.run(bob, io.BytesIO(b"".join(export.export_account(ann))), None))

    assert Message.objects.get(thread__user=bob).status == MessageStatus.INTERRUPTED


def test_the_file_adds_nothing_to_the_account_that_it_came_from(each_database: None) -> None:
    ann = create_user("ann")
    thread = Thread.objects.create(user=ann, model="tiny", title="Llamas")
    thread.messages.create(sender=Sender.USER, content="?")
    file = b"".join(export.export_account(ann))

    line, end = importing.run(ann, io.BytesIO(file), None)

    assert line["code"] == "already_there"
    assert end["already_there"] == 1
    assert Thread.objects.count() == 1


def test_a_copy_of_a_copy_is_known_too(each_database: None) -> None:
    ann, bob, carl = (create_user(name) for name in ("ann", "bob", "carl"))
    Thread.objects.create(user=ann, model="tiny", title="Llamas").messages.create(
        sender=Sender.USER, content="?"
    )
    first = b"".join(export.export_account(ann))
    list(importing.run(bob, io.BytesIO(first), None))
    second = b"".join(export.export_account(bob))
    list(importing.run(carl, io.BytesIO(second), None))

    for file in (first, second):
        *_, end = importing.run(carl, io.BytesIO(file), None)
        assert (end["threads"], end["already_there"]) == (0, 1)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_file_that_ends_in_the_middle_of_a_thread_brings_none_of_it(
    each_database: None, lost: int
) -> None:
    ann, bob = create_user("ann"), create_user("bob")
    for _ in range(2):
        thread = Thread.objects.create(user=ann, model="tiny", title="Llamas")
        for _ in range(3):
            thread.messages.create(sender=Sender.USER, content="?")
    lines = b"".join(export.export_account(ann)).splitlines(keepends=True)

    first, second, end = importing.run(bob, io.BytesIO(b"".join(lines[: -lost - 1])), None)

    assert first["type"] == "thread"
    assert (second["type"], second["code"]) == ("skipped", "incomplete")
    assert end["messages"] == Message.objects.filter(thread__user=bob).count() == 3


def test_a_temporary_thread_whose_time_has_come_stays_away(each_database: None) -> None:
    ann, bob = create_user("ann"), create_user("bob")
    thread = Thread.objects.create(user=ann, model="tiny", title="Secret")
    file = b"".join(export.export_thread(thread))
    ended = file.replace(b'"expires_at":null', b'"expires_at":"2020-01-01T00:00:00Z"')

    line, _ = importing.run(bob, io.BytesIO(ended), None)

    assert line["code"] == "expired"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ((b'"parent_id":null', b'"parent_id":99'), "invalid"),
        ((b'"sender":"user"', b'"sender":"system"'), "invalid"),
        ((b'"status":"complete"', b'"status":"perfect"'), "invalid"),
        ((b'"content":"?"', b'"content":["?"]'), "thread"),
        ((b'"options":{}', b'"options":{"temperature":99}'), "thread"),
        ((b'"title":"Llamas"', b'"title":null'), "thread"),
    ],
)
def test_a_file_that_was_changed_is_checked(
    each_database: None, change: tuple[bytes, bytes], code: str
) -> None:
    ann, bob = create_user("ann"), create_user("bob")
    thread = Thread.objects.create(user=ann, model="tiny", title="Llamas")
    thread.messages.create(sender=Sender.USER, content="?")
    file = b"".join(export.export_thread(thread)).replace(*change)
    assert change[1] in file

    line, _ = importing.run(bob, io.BytesIO(file), None)

    assert line.get("code", line["type"]) == code
    assert all(thread.options == {} for thread in bob.threads.all())


@pytest.mark.parametrize("version", [b"2", b'"1"', b"null"])
def test_a_file_of_another_version_is_refused(each_database: None, version: bytes) -> None:
    ann = create_user("ann")
    file = b"".join(export.export_account(ann)).replace(b'"version":1', b'"version":' + version)

    with pytest.raises(NotReadable, match="version"):
        list(importing.run(ann, io.BytesIO(file), None))


def test_what_is_shared_out_over_many_queries_is_complete(each_database: None) -> None:
    ann = create_user("ann")
    thread = Thread.objects.create(user=ann, model="tiny")
    Message.objects.bulk_create(
        Message(
            thread=thread,
            sender=Sender.USER,
            content="x" * (200_000 if number % 100 == 0 else 10),
            created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        )
        for number in range(2_000)
    )
    others = Thread.objects.bulk_create(Thread(user=ann, model="tiny") for _ in range(250))

    lines = list(export.account_lines(ann))

    messages = [line["id"] for line in lines if line["type"] == "message"]
    assert messages == sorted(set(messages))
    assert len(messages) == 2_000
    assert lines[-1] == {"type": "end", "threads": len(others) + 1, "messages": 2_000}

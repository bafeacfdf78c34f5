"""Each statement about messages and usage beside its ORM twin, on SQLite and on PostgreSQL."""

from datetime import date, datetime, timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User
from chat import statements
from chat.models import Message, MessageStatus, Sender, Thread, Turn, Usage, Worker
from chat.replies.lifecycle import silence_of
from chat.tests.rows import LONG, NOW, full_thread, reply
from testing.people import create_user
from testing.twins import assert_same, fields_of

pytestmark = pytest.mark.usefixtures("each_database")

OWNER = "a-machine/1/0123abcd"


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return full_thread(ann)


def path_back(end: Message, *, oldest: int, tokens: int) -> list[Message]:
    path, size = [end], end.tokens if end.tokens is not None else len(end.content)
    while (parent := path[0].parent) and parent.pk >= oldest and size <= tokens:
        path.insert(0, parent)
        size += parent.tokens if parent.tokens is not None else len(parent.content)
    return path


@pytest.mark.parametrize("tokens", [0, 9, 10, 25, 2**62])
@pytest.mark.parametrize("oldest", [0, 3, 8])
def test_path_back_returns_the_branch_as_far_as_it_fits(
    thread: Thread, oldest: int, tokens: int
) -> None:
    branch: list[Message] = []
    for number in range(10):
        branch.append(
            thread.messages.create(
                parent=branch[-1] if branch else None,
                sender=[Sender.USER, Sender.BOT][number % 2],
                content="\U0001f999" * number,
                tokens=None if number % 3 else number,
            )
        )
        thread.messages.create(parent=branch[-1], sender=Sender.USER, content="another branch")
    lowest = branch[oldest].pk if oldest else 0
    end = branch[-1]

    found = statements.path_back(end, oldest=lowest, tokens=tokens)

    twin = path_back(Message.objects.get(pk=end.pk), oldest=lowest, tokens=tokens)
    fields = Message.objects.only(*statements.FIELDS_OF_A_PATH)
    assert [fields_of(row) for row in found] == [fields_of(fields.get(pk=row.pk)) for row in twin]


@pytest.mark.parametrize("number", [1, 3])
def test_delete_messages_deletes_these_and_no_others(thread: Thread, number: int) -> None:
    messages = [thread.messages.create(sender=Sender.USER, content="Hello?") for _ in range(4)]
    ids = [message.pk for message in messages[:number]]

    assert_same(
        lambda: statements.delete_messages(ids),
        lambda: Message.objects.filter(pk__in=ids).delete() and None,
        Message.objects.all(),
    )
    statements.delete_messages(ids)
    assert list(Message.objects.order_by("pk")) == messages[number:]


def save_reply_end(reply: Message, *, only_if_generating: bool) -> bool:
    rows = Message.objects.filter(pk=reply.pk, owner=OWNER)
    names = "status content thinking error_code prompt_tokens completion_tokens duration_ms"
    names += " first_token_ms finish_reason tokens estimator format_valid"
    fields = {name: getattr(reply, name) for name in names.split()}
    if only_if_generating:
        rows = rows.filter(status=MessageStatus.GENERATING)
    return bool(rows.update(**fields, heartbeat_at=None))


@pytest.mark.parametrize("only_if_generating", [False, True])
@pytest.mark.parametrize("status", [MessageStatus.GENERATING, MessageStatus.STOPPED])
@pytest.mark.parametrize("has_counts", [False, True])
@pytest.mark.parametrize("owner", [OWNER, "another-machine/1/0123abcd"])
def test_save_reply_end_stores_all_that_a_reply_ends_with(
    thread: Thread, owner: str, has_counts: bool, status: MessageStatus, only_if_generating: bool
) -> None:
    ended = reply(thread, status=status, content="half", owner=owner)
    reply(Thread.objects.get(title="Another"), status=MessageStatus.GENERATING)
    ended.status, ended.content, ended.thinking = MessageStatus.FAILED, LONG, LONG
    ended.error_code = "model_timeout"
    if has_counts:
        ended.prompt_tokens, ended.completion_tokens, ended.finish_reason = 1, 0, "length"
        ended.duration_ms, ended.first_token_ms, ended.tokens, ended.estimator = 2, 3, 4, 5
        ended.format_valid = False

    result = assert_same(
        lambda: statements.save_reply_end(ended, OWNER, only_if_generating=only_if_generating),
        lambda: save_reply_end(ended, only_if_generating=only_if_generating),
        Message.objects.all(),
    )

    is_running = status == MessageStatus.GENERATING
    assert result == (owner == OWNER and (is_running or not only_if_generating))


@pytest.mark.parametrize("heard_at", [None, NOW])
def test_find_message_returns_one_or_the_newest(thread: Thread, heard_at: datetime | None) -> None:
    first, newest = reply(thread), reply(thread)
    reply(Thread.objects.get(title="Another"))
    Message.objects.update(heartbeat_at=heard_at)

    for message_id, wanted in ((first.pk, first), (None, newest)):
        found = statements.find_message(thread, message_id)
        assert found
        fields = Message.objects.only(*statements.FIELDS_OF_A_PARENT)
        twin = fields.with_silence().get(pk=wanted.pk)
        found_fields, twin_fields = (
            {name: value for name, value in fields_of(row).items() if name != "silent_for"}
            for row in (found, twin)
        )
        assert found_fields == twin_fields
        assert abs(silence_of(twin) - silence_of(found)) < timedelta(seconds=5)


def test_find_message_finds_none_of_another_thread(thread: Thread) -> None:
    elsewhere = reply(Thread.objects.get(title="Another"))

    assert statements.find_message(thread, elsewhere.pk) is None
    assert statements.find_message(thread, None) is None
    assert not Message.objects.filter(thread=thread).exists()


def save_heartbeats(ids: list[int]) -> None:
    mine = Message.objects.generating().filter(pk__in=ids, owner=OWNER)
    mine.update(heartbeat_at=Now())


def test_save_heartbeats_renews_those_of_the_owners_running_replies(thread: Thread) -> None:
    mine = reply(thread, status=MessageStatus.GENERATING, owner=OWNER)
    others = reply(Thread.objects.get(title="Another"), status=MessageStatus.GENERATING)
    ended = reply(Thread.objects.get(title="Bob's"), owner=OWNER)
    ids = [mine.pk, others.pk, ended.pk, ended.pk + 1]

    def renewed() -> set[int]:
        return set(
            Message.objects.exclude(heartbeat_at=NOW)
            .filter(sender=Sender.BOT)
            .values_list("pk", flat=True)
        )

    statements.save_heartbeats([], OWNER)
    assert renewed() == set()
    statements.save_heartbeats(ids, OWNER)
    assert renewed() == {mine.pk}
    found = Message.objects.with_silence().get(pk=mine.pk)
    assert abs(silence_of(found)) < timedelta(seconds=5)
    Message.objects.update(heartbeat_at=NOW)
    save_heartbeats(ids)
    assert renewed() == {mine.pk}


def save_texts(texts: list[tuple[int, str, str, int]]) -> None:
    for pk, text, thinking, tokens in texts:
        Message.objects.generating().filter(pk=pk, owner=OWNER).update(
            content=text, thinking=thinking, completion_tokens=tokens, takeovers=0
        )


def test_save_texts_stores_those_of_running_replies(ann: User, thread: Thread) -> None:
    running = reply(thread, status=MessageStatus.GENERATING, owner=OWNER, takeovers=2)
    other = reply(Thread.objects.get(title="Another"), status=MessageStatus.GENERATING, owner=OWNER)
    ended = reply(Thread.objects.get(title="Bob's"), status=MessageStatus.STOPPED, content="mine")
    texts = [(row.pk, f"{LONG}{row.pk}", "thoughts", 7) for row in (running, other, ended)]
    texts.append((ended.pk + 1, "of no reply", "", 1))

    assert_same(
        lambda: statements.save_texts(texts, OWNER),
        lambda: save_texts(texts),
        Message.objects.all(),
    )
    statements.save_texts(texts, OWNER)
    contents = dict(Message.objects.filter(sender=Sender.BOT).values_list("pk", "content"))
    assert contents == {**{pk: text for pk, text, *_ in texts[:2]}, ended.pk: "mine"}


def add_usage(user_id: int, day: date, model: str, **more: int) -> bool:
    row = Usage.objects.filter(user_id=user_id, date=day, model=model)
    return bool(row.update(**{name: F(name) + number for name, number in more.items()}))


@pytest.mark.parametrize(
    ("day", "model", "is_there"), [(0, "%s", True), (1, "%s", False), (0, "%S", False)]
)
def test_add_usage_adds_to_the_row_that_is_there(
    ann: User, day: int, model: str, is_there: bool
) -> None:
    today = timezone.now().date()
    for user in (ann, create_user("bob")):
        for name in ("%s", "tiny"):
            Usage.objects.create(user=user, date=today, model=name, replies=1, prompt_tokens=2**40)
    more = {"replies": 1, "prompt_tokens": 2**40, "completion_tokens": 3}

    result = assert_same(
        lambda: statements.add_usage(ann.pk, today - timedelta(day), model, **more),
        lambda: add_usage(ann.pk, today - timedelta(day), model, **more),
        Usage.objects.all(),
    )

    assert result is is_there


@pytest.mark.parametrize("passed_after", [None, -60, 60])
def test_turns_returns_all_with_their_replies_and_processes(
    thread: Thread, passed_after: int | None
) -> None:
    """Without a twin in one query: the ORM knows no joins without a relation."""
    Worker.objects.create(name=OWNER, seen_at=NOW)
    ended = reply(thread, status=MessageStatus.STOPPED)
    passed_at = None if passed_after is None else NOW + timedelta(seconds=passed_after)
    newer = Turn.objects.create(
        user_id=1, reply_id=ended.pk, conversation="%s", model="tiny", owner=OWNER, queued_at=NOW
    )
    oldest = Turn.objects.create(
        user_id=2, host="http://gpu", owner="gone", queued_at=NOW - timedelta(1)
    )
    Turn.objects.filter(pk=newer.pk).update(passed_at=passed_at)

    *rows, (*last, now) = statements.turns()

    assert [row[0] for row in rows] == [oldest.pk]
    assert rows[0][1:-1] == (2, None, "", "", "http://gpu", "gone", None, None, *rows[0][9:-1])
    assert rows[0][9:-1] == (oldest.queued_at, None)
    waits_since = max(NOW, passed_at or NOW)
    reply_fields = (MessageStatus.STOPPED, thread.pk)
    twin = (newer.pk, 1, ended.pk, "%s", "tiny", "", OWNER, *reply_fields, waits_since, NOW)
    assert tuple(last) == twin
    assert abs(timezone.now() - now) < timedelta(seconds=5)
    Turn.objects.all().delete()
    Worker.objects.all().delete()


def test_delete_messages_deletes_these_alone(thread: Thread) -> None:
    kept = thread.messages.create(sender="user")
    deleted = [thread.messages.create(parent=kept, sender="bot").pk for _ in range(3)]

    statements.delete_messages(deleted)

    assert list(Message.objects.all()) == [kept]

"""How a search shows what it has found: in which order, on which page, with which snippet."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from chat.models import Message, Thread
from chat.search import find as search
from chat.search.find import Result
from chat.tests.searching import NOON, find, ids, marked, write
from core.errors import ApiError
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


# --- The order ----------------------------------------------------------------------------------


def test_of_hits_that_look_alike_the_newest_comes_first(ann: User, thread: Thread) -> None:
    found = write(thread, "first llama", "the second llama here", "third llama", "llama no. 4")

    assert ids(ann, "llama") == found[::-1]


def test_the_time_of_a_message_decides_and_not_when_it_was_stored(
    ann: User, thread: Thread
) -> None:
    (newer,) = write(thread, "a llama", created_at=NOON)
    (older,) = write(thread, "a llama", created_at=NOON - timedelta(days=1))

    assert ids(ann, "llama") == [newer, older]


def test_better_hits_come_first(ann: User, thread: Thread) -> None:
    often, in_a_long_text, once = write(
        thread,
        "llama, llama, llama and llama",
        "A llama. " + "Something else. " * 500,
        "just a llama",
    )

    assert ids(ann, "llama ") == [often, once, in_a_long_text]


def test_words_together_are_better_than_apart(ann: User, thread: Thread) -> None:
    together, apart = write(thread, "the blue sky", "the sky which is rarely blue")

    assert ids(ann, "blue sky ") == [together, apart]


def test_a_whole_word_is_better_than_its_beginning(ann: User, thread: Thread) -> None:
    whole, beginning = write(thread, "a cat", "a category")

    assert ids(ann, "cat") == [whole, beginning]


def test_titles_come_before_messages(ann: User, thread: Thread) -> None:
    (message,) = write(thread, "a llama")
    Thread.objects.create(user=ann, model="tiny", title="A llama", created_at=NOON)

    assert ids(ann, "llama") == [None, message]


# --- The pages ----------------------------------------------------------------------------------


def pages(user: User, text: str, limit: int) -> list[Result]:
    results, cursor = search.find(user, text, limit, "")
    while cursor:
        assert len(results) % limit == 0
        more, cursor = search.find(user, text, limit, cursor)
        results += more
    return results


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 13, 14])
def test_the_pages_together_have_every_hit_once_and_in_order(
    ann: User, thread: Thread, limit: int
) -> None:
    write(thread, *["llama"] * 4, *["llama llama"] * 3, *["a llama at the same time"] * 3)
    Message.objects.filter(content__startswith="a").update(created_at=NOON)
    for title in ("llama", "llama", "alpaca", "llamas"):
        Thread.objects.create(user=ann, model="tiny", title=title)
    whole = find(ann, "llama")
    assert len(whole) == 13

    assert pages(ann, "llama", limit) == whole


@pytest.mark.parametrize("limit", [3, 10, 100])
def test_hits_beyond_a_window_follow_on_later_pages(
    ann: User, thread: Thread, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH", 5)
    found = write(thread, *["a llama"] * 23)
    write(thread, *["lla"] * 7)
    for _ in range(12):
        Thread.objects.create(user=ann, model="tiny", title="llamas")

    results, cursor = search.find(ann, "llama ", limit, "")
    while cursor:
        page, cursor = search.find(ann, "llama ", limit, cursor)
        results += page

    assert sorted(result.message_id or 0 for result in results) == found


def test_texts_that_are_too_much_for_one_window_are_read_in_several(
    ann: User, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH_CHARACTERS", 1_000)
    found = write(thread, *["llama " * 120] * 3, "llama " * 300, "llama")

    assert sorted(filter(None, (r.message_id for r in pages(ann, "llama", 2)))) == found


def test_what_is_written_meanwhile_moves_nothing(ann: User, thread: Thread) -> None:
    found = write(thread, *["a llama"] * 5)

    first, cursor = search.find(ann, "llama", 2, "")
    write(thread, *["llama llama llama"] * 3, created_at=timezone.now())
    second, end = search.find(ann, "llama", 10, cursor or "")

    assert [result.message_id for result in first + second] == found[::-1]
    assert end is None


def test_a_cursor_is_of_one_user_and_one_query(ann: User, thread: Thread) -> None:
    write(thread, *["a llama"] * 3)
    bob = create_user("bob")
    _, cursor = search.find(ann, "llama", 1, "")
    assert cursor

    for user, text in ((bob, "llama"), (ann, "llam"), (ann, "")):
        with pytest.raises(ApiError, match="cursor"):
            search.find(user, text, 1, cursor)


# --- The snippet --------------------------------------------------------------------------------


def test_a_snippet_is_one_line_around_the_hit(ann: User, thread: Thread) -> None:
    write(thread, "Something.\n" * 50 + "Here is\na\tllama.\n" + "Something else. " * 50)

    (result,) = find(ann, "llama is")

    assert "Here is a llama." in result.snippet
    assert result.snippet.startswith("…")
    assert result.snippet.endswith("…")
    assert "\n" not in result.snippet
    assert len(result.snippet) <= 202
    assert marked(result) == ["is", "llama"]


def test_a_short_text_is_its_own_snippet(ann: User, thread: Thread) -> None:
    write(thread, "Llamas spit. A llama spits.")

    (result,) = find(ann, "llama")

    assert result.snippet == "Llamas spit. A llama spits."
    assert result.highlights == [[0, 5], [15, 20]]


def test_highlights_are_where_the_words_are_before_they_were_folded(
    ann: User, thread: Thread
) -> None:
    text = "İİİ ßß ﬁﬁ ½ … 🦙🦙 Cafe\u0301 がが " * 20 + "der GRÖSSTE Spaß" + " ﬁn ß" * 50
    write(thread, text)

    (result,) = find(ann, "größte spass")

    assert marked(result) == ["GRÖSSTE", "Spaß"]


def test_a_snippet_has_the_words_that_are_together(ann: User, thread: Thread) -> None:
    write(thread, "blue " + "x " * 500 + "the blue sky" + " y" * 500)

    (result,) = find(ann, "sky blue")

    assert marked(result) == ["blue", "sky"]

"""What a search finds, on SQLite and on PostgreSQL: `find`, behind `GET /chat/search/`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chat.models import Message, MessageStatus, Sender, Thread
from chat.search import find as search
from chat.search.find import Result
from core.errors import ApiError
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


def write(thread: Thread, *texts: str, **fields: Any) -> list[int]:
    """Store messages, a minute apart; return their ids."""
    return [
        Message.objects.create(
            thread=thread,
            content=text,
            **{
                "sender": Sender.USER,
                "created_at": NOON + timedelta(minutes=number),
                **fields,
            },
        ).pk
        for number, text in enumerate(texts)
    ]


def find(user: User, text: str, limit: int = 100) -> list[Result]:
    results, cursor = search.find(user, text, limit, "")
    assert cursor is None
    return results


def ids(user: User, text: str) -> list[int | None]:
    return [result.message_id for result in find(user, text)]


def marked(result: Result) -> list[str]:
    return [result.snippet[start:end] for start, end in result.highlights]


# --- Which texts are found -------------------------------------------------------------------


def test_a_message_is_found_by_a_word_of_it(ann: User, thread: Thread) -> None:
    write(thread, "Why is the sky blue?")
    (reply,) = write(
        thread, "Sunlight is scattered.", sender=Sender.BOT, created_at=NOON, model="tiny"
    )

    (result,) = find(ann, "sunlight")

    assert result == Result(
        thread_id=thread.pk,
        title="",
        message_id=reply,
        sender="bot",
        created_at=NOON,
        snippet="Sunlight is scattered.",
        highlights=[[0, 8]],
    )


def test_all_words_must_be_in_the_text_in_whatever_order(ann: User, thread: Thread) -> None:
    both, _, _ = write(thread, "blue is the sky today", "the sky is grey", "blue shoes")

    assert ids(ann, "sky blue ") == [both]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SKY", "the sky"),
        ("sky", "THE SKY"),
        ("cafe", "Un café!"),
        ("café", "un cafe"),
        ("Cafe\u0301", "UN CAFÉ"),
        ("strasse", "die Straße"),
        ("straße", "DIE STRASSE"),
        ("Łodz", "Łódź"),
        ("smorrebrod", "smørrebrød"),
        ("αθηνα", "Αθήνα"),
        ("ΑΘΗΝΑΣ", "της Αθήνας"),
        ("istanbul", "İSTANBUL"),
        ("привет", "ПРИВЕТ"),
        ("елка", "ёлка"),
        ("fish", "\ufb01sh"),  # with a ligature
        ("שלום", "שָׁלוֹם"),
        ("مرحبا", "مَرْحَبًا"),
        ("हिन्दी", "मुझे हिन्दी पसंद है"),
        ("tiếng viet", "Tiếng Việt"),
        ("\uff12\uff10\uff12\uff16", "in 2026"),
    ],
)
def test_neither_case_nor_accents_matter(ann: User, thread: Thread, query: str, text: str) -> None:
    (found,) = write(thread, text)
    write(thread, "something else")

    assert ids(ann, query) == [found]


@pytest.mark.parametrize(
    ("query", "text", "highlight"),
    [
        ("机器学习", "我喜欢机器学习。", "机器学习"),
        ("机器学", "我喜欢机器学习。", "机器学"),
        ("学习", "我喜欢机器学习。", "学习"),
        ("機械学習", "これは機械学習の本です", "機械学習"),
        ("の本で", "これは機械学習の本です", "の本で"),
        ("らーめん", "東京のらーめん屋", "らーめん"),
        ("ラーメン", "東京のラーメン屋", "ラーメン"),
        ("ﾗｰﾒﾝ", "東京のラーメン屋", "ラーメン"),
        ("가나다", "우리 가나다라", "가나다"),
        ("학교", "학교에서 만나요", "학교"),
        ("สวัสดี", "สวัสดีครับ", "สวัสดี"),
        ("Python入門", "最初のPython入門編", "Python入門"),
        ("𠮷野家", "今日は𠮷野家で", "𠮷野家"),
        ("🦙", "a llama 🦙!", "🦙"),
    ],
)
def test_languages_without_spaces_are_found_by_a_few_characters(
    ann: User, thread: Thread, query: str, text: str, highlight: str
) -> None:
    (found,) = write(thread, text)
    write(thread, "习学器机 習学械機 の機で本械 다나가 野𠮷家 校 교 학")

    (result,) = find(ann, query)

    assert result.message_id == found
    assert marked(result) == [highlight]


@pytest.mark.parametrize("query", ["l", "ll", "lla", "llam", "llama", "fluffy l"])
def test_the_last_word_may_be_unfinished(ann: User, thread: Thread, query: str) -> None:
    (found,) = write(thread, "fluffy llamas")
    write(thread, "fluffy alpacas and a flat hall")

    assert ids(ann, query) == [found]


@pytest.mark.parametrize("query", ["llama ", "llama\n", '"llama"', "llama fluffy", "lla fluffy"])
def test_other_words_must_be_whole(ann: User, thread: Thread, query: str) -> None:
    write(thread, "fluffy llamas")

    assert ids(ann, query) == []


def test_words_that_only_begin_alike_are_told_apart(ann: User, thread: Thread) -> None:
    one, two = write(thread, "internationalisation", "internationally")

    assert ids(ann, "internationalisation ") == [one]
    assert ids(ann, "internationally ") == [two]
    assert ids(ann, "internationali") == [one]
    assert ids(ann, "international") == [two, one]


@pytest.mark.parametrize(
    "query",
    ['"to be or not"', "“to be or not”", "„to be or not“", "«to be or not»", '"To  be, OR not"'],
)
def test_a_phrase_is_found_whatever_stands_between_its_words(
    ann: User, thread: Thread, query: str
) -> None:
    (found,) = write(thread, "He said: to be,\n\nor not to be.")
    write(thread, "not or be to", "to be and or not", "into be or not", "to be or nothing")

    assert ids(ann, query) == [found]


def test_a_phrase_that_is_still_being_typed_may_end_in_an_unfinished_word(
    ann: User, thread: Thread
) -> None:
    (found,) = write(thread, "the sky is blue")

    assert ids(ann, '"sky is bl') == [found]
    assert ids(ann, '"sky is bl"') == []
    assert ids(ann, '"sky is bl ') == []


def test_phrases_and_words_go_together(ann: User, thread: Thread) -> None:
    (found,) = write(thread, "why the sky is blue")
    write(thread, "the sky is grey", "blue is the sky")

    assert ids(ann, 'blue "the sky" why') == [found]


@pytest.mark.parametrize("query", ["foo_bar", "foo-bar", "foo.bar", "foo/bar", '"foo bar"'])
def test_names_of_several_words_are_found_as_phrases(ann: User, thread: Thread, query: str) -> None:
    found = write(thread, "call foo_bar()", "the foo-bar", "foo bar")
    write(thread, "foobar", "bar foo", "foo and bar")

    assert sorted(filter(None, ids(ann, query))) == found


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        '"',
        '""',
        '"" ""',
        "*",
        "-",
        "!!!",
        "&",
        "|",
        "()",
        "'",
        "\\",
        "%",
        "_",
        ":*",
        "\0",
        "'; DROP TABLE chat_message; --",
        "a AND",
        "OR NOT",
        "NEAR(a b)",
        "terms: x",
        "^a",
        "{a}",
        "a:*",
        "a & | b",
        "((((",
        "<->",
        '"' * 500,
        "a " * 500,
        "a" * 1000,
        "机" * 1000,
        "\ud7ff\uffff\U0010ffff",
        "\u0301",
        "\u202e\u200b\ufeff",
        "🦙" * 300,
    ],
)
def test_no_query_is_an_error(ann: User, thread: Thread, query: str) -> None:
    write(thread, "nothing of this: DROP terms x", "a b c", "OR NOT AND NEAR")

    results = find(ann, query)

    for result in results:
        assert all(marked(result))


def test_marks_in_a_query_are_not_searched_for(ann: User, thread: Thread) -> None:
    (found,) = write(thread, "Is C++ hard? Yes: 100%")

    for query in ("c++", "C", "yes:", "100%", "'hard'", "(hard)", "*hard*"):
        assert ids(ann, query) == [found], query


# --- Whose ------------------------------------------------------------------------------------


def test_nobodys_words_are_found_by_another(ann: User, thread: Thread) -> None:
    bob = create_user("bob")
    theirs = Thread.objects.create(user=bob, model="tiny", title="secret llamas")
    write(theirs, "a secret of bob's")
    write(thread, "nothing")

    for query in ("secret", "s", "bob", '"a secret"', "llamas"):
        assert find(ann, query) == []
    assert len(find(bob, "secret")) == 2


def test_users_whose_numbers_begin_alike_are_told_apart(each_database: None) -> None:
    users = [create_user(f"user{number}", id=number) for number in (7, 71, 711, 17)]
    for user in users:
        write(Thread.objects.create(user=user, model="tiny"), f"word of {user.pk}", "7:word 1:x")

    for user in users:
        assert {result.thread_id for result in find(user, "word")} == {user.threads.get().pk}


@pytest.mark.parametrize(
    "hidden",
    [{"deleted_at": NOON}, {"expires_at": NOON}],
)
def test_a_deleted_or_expired_thread_is_not_found(
    ann: User, thread: Thread, hidden: dict[str, Any]
) -> None:
    write(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(title="llamas")
    assert len(find(ann, "llama")) == 2

    Thread.objects.filter(pk=thread.pk).update(**hidden)

    assert find(ann, "llama") == []


def test_an_archived_thread_is_found(ann: User, thread: Thread) -> None:
    write(thread, "a llama")
    Thread.objects.filter(pk=thread.pk).update(archived=True)

    assert len(find(ann, "llama")) == 1


# --- When the index knows -----------------------------------------------------------------------


def test_a_reply_is_found_when_it_has_ended_and_not_before(ann: User, thread: Thread) -> None:
    (reply,) = write(
        thread, "half a", sender=Sender.BOT, status=MessageStatus.GENERATING, model="tiny"
    )
    assert ids(ann, "half") == []

    Message.objects.filter(pk=reply).update(content="half a llama")
    assert ids(ann, "llama") == []
    Message.objects.filter(pk=reply).update(status=MessageStatus.STOPPED)

    assert ids(ann, "llama") == [reply]


def test_a_reply_that_goes_on_is_found_by_what_it_says_then(ann: User, thread: Thread) -> None:
    (reply,) = write(thread, "one two", sender=Sender.BOT, status=MessageStatus.STOPPED)
    assert ids(ann, "two") == [reply]

    message = Message.objects.filter(pk=reply)
    message.update(status=MessageStatus.GENERATING)
    message.update(content="one two three")
    message.update(status=MessageStatus.COMPLETE)

    assert ids(ann, "three") == [reply]
    assert ids(ann, "one") == [reply]


def test_a_text_that_was_changed_is_found_by_its_new_words_only(ann: User, thread: Thread) -> None:
    (message,) = write(thread, "an alpaca")
    assert ids(ann, "alpaca") == [message]

    Message.objects.filter(pk=message).update(content="a llama")

    assert ids(ann, "llama") == [message]
    assert ids(ann, "alpaca") == []
    Message.objects.filter(pk=message).update(content="!")
    assert ids(ann, "llama") == []


def test_titles_are_found_by_what_they_are_now(ann: User) -> None:
    thread = Thread.objects.create(user=ann, model="tiny", title="About llamas", created_at=NOON)

    (result,) = find(ann, "llamas")
    assert result == Result(thread.pk, "About llamas", None, None, NOON, "About llamas", [[6, 12]])

    Thread.objects.filter(pk=thread.pk).update(title="About alpacas")
    assert find(ann, "llamas") == []
    assert len(find(ann, "alpacas")) == 1
    Thread.objects.filter(pk=thread.pk).update(title="")
    assert find(ann, "alpacas") == []


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
    monkeypatch.setattr(search, "WINDOW", 5)
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
    monkeypatch.setattr(search, "WINDOW_CHARACTERS", 1_000)
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

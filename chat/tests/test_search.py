"""What a search finds, on SQLite and on PostgreSQL: `find`, behind `GET /chat/search/`."""

import pytest

from accounts.models import User
from chat.models import Sender, Thread
from chat.search.find import Result
from chat.tests.searching import NOON, find, ids, marked, write
from testing.people import create_user

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def ann(each_database: None) -> User:
    return create_user("ann")


@pytest.fixture
def thread(ann: User) -> Thread:
    return Thread.objects.create(user=ann, model="tiny")


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

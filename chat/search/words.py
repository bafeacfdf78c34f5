"""What the words of a text are: without regard to case and accents, in any script."""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

# Scripts that put no space between words, and Hangul, whose words take endings: each character is a
# word of its own, and a query finds them in a row. Emoji are found in the same way.
SINGLE = (
    "\u0e00-\u0eff"  # Thai and Lao
    "\u0f00-\u109f"  # Tibetan and Burmese
    "\u1780-\u17ff"  # Khmer
    "\u2600-\u27bf\U0001f000-\U0001faff"  # symbols and emoji
    "\u3005-\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7a3"  # Hangul
)
# Indian scripts write vowels as marks, which Python does not count as part of a word.
INDIC = "\u0900-\u0963\u0966-\u0dff"
WORD_CHARACTER = rf"(?:[^\W_{SINGLE}]|[{INDIC}])"
WORD = re.compile(rf"[{SINGLE}]|{WORD_CHARACTER}+")
ASCII_WORD = re.compile(r"[a-z0-9]+")
IS_SINGLE = re.compile(rf"[{SINGLE}]")
IS_WORD_CHARACTER = re.compile(WORD_CHARACTER)

BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
LONG_RUN = 32
# Accents of Latin, Greek and Cyrillic, the points of Hebrew, and the vowels of Arabic.
ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u06d6-\u06dc\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
# Letters that Unicode takes for letters of their own, and many people for a letter with an accent.
LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ŧ": "t",
        "\u0131": "i",
        "æ": "ae",
        "œ": "oe",
    }
)
# A character with the marks that belong to it, or one syllable of Hangul in its parts: what may
# become one character when it is folded.
CLUSTER = "(?:[\u1100-\u115f][\u1160-\u11ff]*|.[\u0300-\u036f\u3099\u309a]*)"
CLUSTERS = re.compile(CLUSTER, re.DOTALL)
PIECES = re.compile(CLUSTER + "{1,128}", re.DOTALL)


def fold(text: str) -> str:
    """Return a text as it is compared: in lower case, and without accents."""
    return (text if text.isascii() else BEYOND_ASCII.sub(_fold_match, text)).lower()


def _fold_match(match: re.Match[str]) -> str:
    run = match[0]
    return _fold_short_run(run) if len(run) < LONG_RUN else _fold_run(run)


def _fold_run(run: str) -> str:
    """Fold characters beyond ASCII that follow each other."""
    text = unicodedata.normalize("NFKD", run).casefold().translate(LETTERS)
    return unicodedata.normalize("NFC", ACCENTS.sub("", text))


_fold_short_run = lru_cache(10_000)(_fold_run)  # the same few words and marks come all the time


def split_words(folded: str) -> list[str]:
    """Return the words of a folded text, in their order."""
    return (ASCII_WORD if folded.isascii() else WORD).findall(folded)


class Origins:
    """Where the characters of a folded text come from in the original."""

    def __init__(self, text: str) -> None:
        self._is_same = text.isascii()
        self._pieces: list[re.Match[str]] = []
        self._starts: list[int] = []  # of the pieces, in the folded text
        self._places: dict[int, list[tuple[int, int]]] = {}  # by piece
        if not self._is_same:
            self._pieces = list(PIECES.finditer(text))
            start = 0
            for piece in self._pieces:
                self._starts.append(start)
                start += len(fold(piece[0]))

    def of(self, start: int, end: int) -> tuple[int, int]:
        """Return from where to where the original of `folded[start:end]` goes."""
        if self._is_same:
            return start, end
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._starts, index) - 1
        if number not in self._places:
            piece = self._pieces[number]
            self._places[number] = [
                (piece.start() + cluster.start(), piece.start() + cluster.end())
                for cluster in CLUSTERS.finditer(piece[0])
                for _ in fold(cluster[0])
            ] or [piece.span()]
        places = self._places[number]
        # In a few odd sequences of marks, pieces fold to more or less than the whole does.
        return places[min(index - self._starts[number], len(places) - 1)]

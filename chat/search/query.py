"""What a user searches for, and how well a text matches it.

Words, and "phrases" in quotation marks; a text must have all of them. The last word may be the
beginning of one, as it is while somebody types, unless a space or a quotation mark ends it. There
is no other syntax, so no query is wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from chat.search.words import IS_SINGLE, IS_WORD_CHARACTER, WORD_CHARACTER, fold, split_words

MAX_PARTS = 16
MAX_WORDS = 64
GAP = r"[\W_]{0,10}"  # between the words of a phrase there may be any marks
QUOTED = re.compile('["“”„«»]([^"“”„«»]*)(["“”„«»]|\\Z)')

POINTS_FOR_A_PART = 10
POINTS_FOR_TITLES = 10
POINTS_FOR_BEING_TOGETHER = 10
POINTS_FOR_WHOLE_WORDS = 3
MOST_OCCURRENCES = 50
LENGTH_OF_A_STEP = 512  # characters, in which a text counts as short


@dataclass(frozen=True)
class Part:
    """A word or a phrase: words that follow each other. The last may be `unfinished`."""

    words: tuple[str, ...]
    unfinished: bool

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the part in a folded text, but also within words: see `places_in`."""
        end = "" if self.unfinished or IS_SINGLE.match(self.words[-1]) else rf"(?!{WORD_CHARACTER})"
        return re.compile(_joined(self.words) + end)

    def places_in(self, folded: str, most: int = MOST_OCCURRENCES) -> list[tuple[int, int]]:
        """Return where a folded text has the part, as pairs of start and end."""
        # The pattern begins with a letter, and not with a condition: so it is found fast.
        starts_anywhere = IS_SINGLE.match(self.words[0])
        places = []
        for match in self.pattern.finditer(folded):
            start = match.start()
            if starts_anywhere or not start or not IS_WORD_CHARACTER.match(folded, start - 1):
                places.append(match.span())
                if len(places) == most:
                    break
        return places


@dataclass(frozen=True)
class Query:
    """All parts of a query; a text must have each of them."""

    parts: tuple[Part, ...]

    @cached_property
    def _together(self) -> Part:
        every = tuple(word for part in self.parts for word in part.words)
        return Part(every, self.parts[-1].unfinished)

    def score(self, folded: str, *, is_title: bool = False) -> int | None:
        """Return how good a hit a folded text is, None where it is none.

        Often is better than seldom, in short texts better than in long ones, all words together
        better than apart, and a word better than its beginning. The steps are coarse, so that of
        hits that look alike the newest comes first.
        """
        points = 0
        length = (len(folded) // LENGTH_OF_A_STEP).bit_length()
        for part in self.parts:
            places = part.places_in(folded)
            if not places:
                return None
            often = len(places).bit_length()
            points += POINTS_FOR_A_PART * 2 * often // (2 * often + length + 1)
            if part.unfinished and any(_ends_a_word(folded, end) for _, end in places):
                points += POINTS_FOR_WHOLE_WORDS
        if len(self.parts) > 1 and self._together.places_in(folded, most=1):
            points += POINTS_FOR_BEING_TOGETHER
        return points + POINTS_FOR_TITLES * is_title


def parse(text: str) -> Query:
    """Return the query of a text; it has no parts where the text has no words."""
    parts: list[Part] = []
    position = 0
    for quoted in QUOTED.finditer(text):
        parts += _parts(text[position : quoted.start()], is_last=False)
        parts += _part(quoted[1], unfinished=not quoted[2] and not quoted[1][-1:].isspace())
        position = quoted.end()
    parts += _parts(text[position:], is_last=True)
    return Query(tuple(dict.fromkeys(parts))[:MAX_PARTS])


def _parts(text: str, *, is_last: bool) -> list[Part]:
    words = text.split()
    return [
        part
        for number, word in enumerate(words, 1)
        for part in _part(
            word, unfinished=is_last and number == len(words) and not text[-1].isspace()
        )
    ]


def _part(text: str, *, unfinished: bool) -> list[Part]:
    found = split_words(fold(text))[:MAX_WORDS]
    return [Part(tuple(found), unfinished)] if found else []


def _joined(found: Sequence[str]) -> str:
    """Return a pattern for words in a row; where two make no word together, they may touch."""
    pattern = re.escape(found[0])
    for before, word in pairwise(found):
        may_touch = IS_SINGLE.match(before) or IS_SINGLE.match(word)
        pattern += (GAP if may_touch else GAP.replace("0", "1", 1)) + re.escape(word)
    return pattern


def _ends_a_word(folded: str, end: int) -> bool:
    return not IS_WORD_CHARACTER.match(folded, end)

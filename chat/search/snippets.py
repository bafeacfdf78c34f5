"""The part of a text that shows why it was found."""

from collections.abc import Sequence
from typing import NamedTuple

from chat.search.query import Query
from chat.search.words import Origins, fold

LENGTH = 200
BEFORE = 60  # characters in front of the first occurrence
MOST_HIGHLIGHTS = 20


class Snippet(NamedTuple):
    """A piece of a text in one line, and what to highlight in it: from, to, in characters."""

    text: str
    highlights: list[list[int]]


class Occurrence(NamedTuple):
    """Where a text has a part of the query, and which."""

    start: int
    end: int
    part: int


def snippet_of(text: str, query: Query, length: int = LENGTH) -> Snippet:
    """Return the piece of a text with most of the query's parts, and where they are in it."""
    folded, origins = fold(text), Origins(text)
    occurrences = sorted(
        Occurrence(start, end, number)
        for number, part in enumerate(query.parts)
        for start, end in part.places_in(folded)
    )
    shown = _best(occurrences, length)
    occurrences = [
        Occurrence(*origins.of(occurrence.start, occurrence.end), occurrence.part)
        for occurrence in shown
    ]
    first, last = _piece(text, occurrences[0].start if occurrences else 0, length)
    before, after = "…" if first else "", "…" if last < len(text) else ""
    shift = len(before) - first
    highlights: list[list[int]] = []
    for start, end, _ in occurrences:
        if end > last:
            continue
        if highlights and start + shift <= highlights[-1][1]:
            highlights[-1][1] = max(highlights[-1][1], end + shift)
        elif len(highlights) < MOST_HIGHLIGHTS:
            highlights.append([start + shift, end + shift])
    line = "".join(" " if character.isspace() else character for character in text[first:last])
    return Snippet(before + line + after, highlights)


def _best(occurrences: Sequence[Occurrence], length: int) -> Sequence[Occurrence]:
    """Return occurrences that fit into a piece: those with most parts, and of those the first."""
    best: Sequence[Occurrence] = occurrences[:0]
    most, end = 0, 0
    for index, first in enumerate(occurrences):
        while end < len(occurrences) and occurrences[end].end <= first.start + length - BEFORE:
            end += 1
        parts = len({one.part for one in occurrences[index:end]})
        if parts > most:
            best, most = occurrences[index : max(end, index + 1)], parts
    return best


def _piece(text: str, place: int, length: int) -> tuple[int, int]:
    """Return the bounds of the piece around a place, at a word's beginning and end if near."""
    if len(text) <= length:
        return 0, len(text)
    first = max(0, min(place - BEFORE, len(text) - length))
    last = min(len(text), first + length)
    if first:
        space = next((i for i in range(first, min(place, first + 20)) if text[i].isspace()), None)
        first = first if space is None else space + 1
    if last < len(text):
        space = next((i for i in range(last, max(place, last - 20), -1) if text[i].isspace()), None)
        last = last if space is None else space
    return first, last

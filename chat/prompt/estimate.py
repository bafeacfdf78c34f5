"""How many tokens a text has, estimated: only the model's own tokenizer knows."""

import re
import unicodedata
from collections import Counter
from math import ceil

VERSION = 1  # to be raised with every change of `estimate`: messages keep what it gave them

# What a model's template adds to each message, as a careful guess: its role and its end.
TOKENS_AROUND_A_MESSAGE = 12

# See `estimate`. A single space goes with what comes after it, but for a digit.
PIECES = re.compile(
    r"(?P<no_words>[A-Za-z0-9]{17,})|(?P<word>[A-Z]?[a-z]+)|(?P<capitals>[A-Z]+)"
    r"|(?P<digit_apart> [0-9])|(?P<spaces> {2,})|(?P<beyond_ascii>[^\x00-\x7f])|(?P<mark>[^ ])"
)
CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{3,}")
LETTERS_IN_A_TOKEN = 3
CAPITALS_IN_A_TOKEN = 1.5
SPACES_IN_A_TOKEN = 4

SAMPLE_LENGTH = 200  # characters that reveal the script


def estimate(text: str) -> int:
    """Return a number of tokens that `text`, as one message, will hardly exceed.

    Three letters of a word make a token, four spaces of a run do, and every digit, mark and line
    end is one. Capitals and consonant clusters, as in abbreviations and passwords, are split
    into more, and what has more letters and digits than a word (base64, a hash) into single ones.
    Beyond ASCII each byte of UTF-8 may be one: no byte-level tokenizer has more.
    """
    if not text:
        return 0
    tokens = TOKENS_AROUND_A_MESSAGE
    for piece in PIECES.finditer(text):
        match piece.lastgroup:
            case "word":
                tokens += -(-len(piece[0]) // LETTERS_IN_A_TOKEN)
                tokens += sum(len(cluster) - 2 for cluster in CONSONANTS.findall(piece[0]))
            case "capitals":
                tokens += ceil(len(piece[0]) / CAPITALS_IN_A_TOKEN)
            case "digit_apart":
                tokens += 2
            case "spaces":
                tokens += -(-len(piece[0]) // SPACES_IN_A_TOKEN)
            case "no_words":
                tokens += len(piece[0])
            case "beyond_ascii":
                tokens += len(piece[0].encode())
            case _:
                tokens += 1
    return tokens


def script_of(text: str) -> str:
    """Return in which script most of a text is, by Unicode's names of its characters."""
    sample = text[:: len(text) // SAMPLE_LENGTH + 1]
    scripts = Counter(
        "LATIN" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]
        for character in sample
        if not character.isspace()
    )
    return scripts.most_common(1)[0][0] if scripts else "LATIN"

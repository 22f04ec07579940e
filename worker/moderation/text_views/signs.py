"""Signs that are rare inside words, for letters that they resemble: ``k\u00a1ll``, ``fu\u00a9k``, ``s#it``."""

import math
from functools import lru_cache

import regex

from worker.moderation.text_views.rules import Match, Rule, replacing
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

_LETTERS = str.maketrans("\u00a1\u00a2\u00a5\u00a7\u2020\u00a9\u00ae\u00d7\u00b0\u20a9#^", "icystcrxowha")
RARE_SIGNS = r"\u00a1\u00a2\u00a5\u00a7\u2020\u00a9\u00ae\u00d7\u00b0\u20a9#\^"
"""The signs, for a class in a pattern."""
_WORD = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}_@$#/%'.{RARE_SIGNS}])[A-Za-z]++(?:[{RARE_SIGNS}]{{1,2}}[A-Za-z]++)++"
    rf"(?![\p{{L}}\p{{N}}_/(={RARE_SIGNS}]|\.\p{{L}})"
)
_SIGN = regex.compile(f"[{RARE_SIGNS}]")
_LETTERS_MIN = 4


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word with letters in place of signs, if that is a known word."""
    reading = word.translate(_LETTERS)
    reading = reading.upper() if word.isupper() else reading
    return reading if vocabulary.whole_cost(reading.lower()) < math.inf else word


def signs_for_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that reads rare signs inside a word as letters, if that makes a known word."""

    def shown(match: Match) -> str:
        word = match[0]
        return _reading(word, vocabulary) if _LETTERS_MIN <= len(word) <= WORD_LETTERS_MAX else word

    find = replacing(_WORD, shown)
    return (lambda text: find(text) if _SIGN.search(text) else (),)

"""Fonts that generators make of other letters, and letters upside down.

``ķíĺĺ`` and ``₭łⱠⱠ`` are letters of any script that resemble a Latin one. A word alone says little, because
ordinary words of many languages resemble Latin ones. Here most words of the text have to become known words.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import regex

from worker.moderation.text_views.lookalikes import LatinLetters
from worker.moderation.text_views.rules import Edit, Rule
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

_OTHERS = r"\p{Sc}\u2202\u2118\u2102-\u213f"
"""Signs that these fonts use as letters."""
_WORD = regex.compile(rf"[\p{{L}}\p{{M}}{_OTHERS}]+")
_LETTERS_MIN = 3
_WORDS_MIN = 2
_ANY_LETTER = LatinLetters(regex.compile(rf"(?=[^\x00-\x7f])[\p{{L}}{_OTHERS}]"))


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> tuple[str, bool] | None:
    """Return a word in Latin letters, and whether it is a known word then and was none before.

    Return None for a word of which less than half of the letters change, or not all letters resemble Latin ones.
    """
    shown = word.translate(_ANY_LETTER)
    if not (shown.isascii() and shown.isalpha()):
        return None
    if 2 * sum(old != new for old, new in zip(word, shown, strict=True)) < len(word):
        return None
    lower = shown.lower()
    is_found = len(shown) >= _LETTERS_MIN and vocabulary.whole_cost(lower) < math.inf
    is_cased = word.isupper() or shown[1:].islower()
    return shown if is_cased else lower, is_found and vocabulary.whole_cost(word.lower()) == math.inf


def font_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rules for texts in a font that is made of other letters, and for text upside down."""

    def fonts(text: str) -> Iterator[Edit]:
        edits: list[Edit] = []
        words = found = 0
        for match in _WORD.finditer(text):
            word = match[0]
            if word.isascii() or len(word) > WORD_LETTERS_MAX:
                continue
            words += len(word) >= _LETTERS_MIN
            if (reading := _reading(word, vocabulary)) is not None:
                found += reading[1]
                edits.append((match.start(), match.end(), reading[0]))
        if found >= _WORDS_MIN and 2 * found > words:
            yield from edits

    def upside_down(text: str) -> Iterator[Edit]:
        place = 0
        for line in text.split("\n"):
            if len(set(_FLIPPED.findall(line))) >= _FLIPPED_MIN:
                shown = line[::-1].translate(_UPSIDE_DOWN)
                known = [word for word in _LATIN_WORD.findall(shown) if vocabulary.is_known(word)]
                if len(known) >= _WORDS_MIN:
                    yield place, place + len(line), shown
            place += len(line) + 1

    return (upside_down, fonts)


_FLIPPED_LETTERS = (
    "\u0250\u0254\u01dd\u025f\u0183\u0265\u1d09\u027e\u029e\u026f\u0279\u0287\u028c\u028d\u028e\u05df"
)
_FLIPPED = regex.compile(f"[{_FLIPPED_LETTERS}]")
_FLIPPED_MIN = 3
"""Different letters upside down. A line in phonetic letters has some of them, but does not become known words."""
_LATIN_WORD = regex.compile(r"[A-Za-z]{3,}")
_UPSIDE_DOWN = str.maketrans(_FLIPPED_LETTERS + "qbpdun\u02d9'\u00bf\u00a1,", "acefghijkmrtvwylbqdpnu.,?!'")
FONT = rf"[[\p{{L}}{_OTHERS}]--[\x00-\x7f\p{{Script=Hangul}}\p{{Script=Hiragana}}\p{{Script=Katakana}}]]"
"""Letters that a font can be made of, as a class of version 1 of ``regex``."""

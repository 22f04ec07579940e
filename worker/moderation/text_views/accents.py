"""An accent in an English word, or a letter that resembles another: ``kíll``, ``idiöt``, ``fµck``.

Other languages have many words that are English words without their accents: ``pénis``, ``hält``, ``dónde``. So
this step changes only texts with English words that other languages in Latin letters do not have.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import regex
import unicodedata2

from worker.moderation.text_views.letters import STACKING
from worker.moderation.text_views.rules import Edit, Rule, begins_sentence
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

ACCENTED = r"\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
"""Letters with an accent, and letters that resemble one of ASCII, for a class in a pattern."""
_RESEMBLING = str.maketrans(
    {"\u0131": "i", "\u00b5": "u", "\u00df": "b", "\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u0180": "b"}
)
_ENGLISH = regex.compile(
    r"\b(?:the|you|your|yourself|and|this|that|they|them|their|with|what|would|should|will|have|him|his|she|her|my"
    r"|from|because|who|people|about|don't|can't|want|hate|kill|fuck|fucking)\b",
    regex.IGNORECASE,
)
_ENGLISH_SHARE = 10
"""A text is English if at least one word of ten is such a word."""
_WORD = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}\p{{M}}_@#/.])[A-Za-z]*+[{ACCENTED}{STACKING}][A-Za-z{ACCENTED}{STACKING}]*+"
    r"(?![\p{L}\p{N}\p{M}_/@]|\.\p{L})"
)
_LETTERS_MIN = 4


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word without accents, if it is a known word only then; or else the word itself."""
    composed = unicodedata2.normalize("NFC", word)
    shown = unicodedata2.normalize("NFD", composed.translate(_RESEMBLING))
    shown = "".join(letter for letter in shown if not unicodedata2.combining(letter))
    if not shown.isascii() or len(shown) < _LETTERS_MIN or not (shown[1:].islower() or shown.isupper()):
        return word
    is_new = vocabulary.cost(composed.lower()) == math.inf and vocabulary.whole_cost(shown.lower()) < math.inf
    return shown if is_new else word


def accents(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that removes the accents of words in English texts, if that makes a known word."""

    def edits(text: str) -> Iterator[Edit]:
        if len(_ENGLISH.findall(text)) * _ENGLISH_SHARE < max(1, text.count(" ")):
            return
        for match in _WORD.finditer(text):
            word, start = match[0], match.start()
            is_name = word.istitle() and not begins_sentence(text, start)
            if is_name or len(word) > WORD_LETTERS_MAX or (reading := _reading(word, vocabulary)) == word:
                continue
            yield start, match.end(), reading

    return (edits,)

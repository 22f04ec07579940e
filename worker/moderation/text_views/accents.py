"""An accent in an English word, or a letter that resembles another: ``kíll``, ``idiöt``, ``fµck``.

Other languages have many words that are English words without their accents: ``børn``, ``hält``, ``dónde``. So
this step changes only texts in which one word of five is English and common in no other language.
English has borrowed words such as ``fiancé`` and ``élite``. So an accent on the last letter stays, and é as the
first letter. Other borrowed words, and old spellings such as ``learnèd``, lose their accent if the vocabulary knows
only the word without it. A German word in an English text can change too, because ß is read as b there.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import regex
import unicodedata2

from worker.moderation.text_views.letters import STACKING
from worker.moderation.text_views.rules import Edit, Match, Rule, begins_sentence, replacing
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

ACCENTED = r"\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
"""Letters with an accent, and letters that resemble one of ASCII, for a class in a pattern."""
_RESEMBLING = str.maketrans(
    {"\u0131": "i", "\u00b5": "u", "\u00df": "b", "\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u0180": "b"}
)
_ENGLISH = regex.compile(
    r"\b(?:the|you|your|yourself|this|that|they|them|their|with|what|which|would|should|could|there|those|where"
    r"|when|because|who|every|everyone|she|people|about|him|from|don't|can't)\b",
    regex.IGNORECASE,
)
"""Words that are common in no other language in Latin letters. Not ``have``, ``her``, ``will``, ``want`` or ``my``:
they are Danish, German, Dutch or Polish words, too. Not ``kill``: it is a word of players in every language."""
_ENGLISH_SHARE = 5
"""A text is English if at least one word of five is such a word."""
_WORD = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}\p{{M}}_@#/.])[A-Za-z]*+[{ACCENTED}{STACKING}][A-Za-z{ACCENTED}{STACKING}]*+"
    r"(?![\p{L}\p{N}\p{M}_/@]|\.\p{L})"
)
_BORROWED = regex.compile(rf"[\u00e9\u00c9][A-Za-z]+|[A-Za-z]+[{ACCENTED}]")
"""Words with their only accent where real words in English have it: é first, or an accent last."""
_LETTERS_MIN = 4


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word without accents, if it is a known word only then; or else the word itself."""
    composed = unicodedata2.normalize("NFC", word)
    if _BORROWED.fullmatch(composed):
        return word
    shown = unicodedata2.normalize("NFD", composed.translate(_RESEMBLING))
    shown = "".join(letter for letter in shown if not unicodedata2.combining(letter))
    if not shown.isascii() or len(shown) < _LETTERS_MIN or not (shown[1:].islower() or shown.isupper()):
        return word
    is_new = vocabulary.cost(composed.lower()) == math.inf and vocabulary.whole_cost(shown.lower()) < math.inf
    return shown if is_new else word


def accents(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that removes the accents of words in English texts, if that makes a known word."""

    def shown(match: Match) -> str:
        word = match[0]
        is_name = word.istitle() and not begins_sentence(match.string, match.start())
        return word if is_name or len(word) > WORD_LETTERS_MAX else _reading(word, vocabulary)

    of_english = replacing(_WORD, shown)

    def edits(text: str) -> Iterable[Edit]:
        is_english = len(_ENGLISH.findall(text)) * _ENGLISH_SHARE > text.count(" ")
        return of_english(text) if is_english else ()

    return (edits,)

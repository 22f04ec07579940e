"""Words with capitals at random places (``kIlL yOuRsElF``): most capitals begin a token of their own."""

import math
import re
from collections.abc import Iterable

from worker.moderation.text_views.rules import Edit, Rule, remembered, replacing
from worker.moderation.text_views.vocabulary import Vocabulary

_WORD = re.compile(r"(?<![\w@#/\\=+$&])(?<!\w\.)[A-Za-z]+(?![\w/\\=+@(]|\.[^\W\d_])")
"""A word that is not part of a link, a name or code."""
_JOINED = re.compile(r"(?<![\w@#/\\=+$&-])(?<!\w\.)[A-Za-z]+(?:-[A-Za-z]+)*(?![\w/\\=+@(-]|\.[^\W\d_])")
"""A word, or words that hyphens join: one of them alone can be a part of an identifier."""
_BETWEEN_CAPITALS = re.compile("[A-Z][a-z][A-Z]")
_SECOND_IS_CAPITAL = re.compile("[a-z][A-Z][A-Za-z]+")
_LOOKED_AT = re.compile("[A-Z](?:[a-z][A-Z]|(?<=(?<![A-Za-z0-9_@$])[a-z][A-Z]))")
"""A small letter between capitals, or a capital after a small first letter: ``Triggers`` looks for the same. The
pattern begins with a capital, because few letters are capitals: that takes half of the time."""
_PART = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A part of a name that is written together: ``You`` and ``Tube``, ``My`` and ``SQL``."""
_SHORT_PART, _PART_MAX = 2, 3
_LETTERS_MIN = 4
"""Letters of an odd word: ``LoL``, ``PhD`` and ``IoT`` are shorter."""
_SHARE_OF_RANDOM_CASE = 0.5
_TWO_SYLLABLES = re.compile("[A-Z][a-z][A-Z][a-z]")
"""``WiFi``, ``YoYo``."""
_SECOND_CAPITAL_COST_MAX = math.log2(2_000)
"""``kIll`` counts only if it is one of 2,000 words: ``iPhone``, ``eBay`` and ``jQuery`` have this form, too."""
_CAPITALS_COST_MAX = math.log2(20_000)
"""``bITCH`` counts if it is one of 20,000 words: few names have this form (``mRNA``)."""

_USUAL = frozenset({"eMail", "eMails"})
"""Spellings of ordinary words that count for nothing: many Germans write so."""


def _is_odd(word: str, vocabulary: Vocabulary) -> bool:
    """Return whether a word is known, and its capitals are probably not those of a name or of code."""
    if word in _USUAL:
        return False
    if _has_short_parts(word):
        return vocabulary.is_known(word)
    if not _SECOND_IS_CAPITAL.fullmatch(word):
        return False
    has_capitals_only = len(word) >= _LETTERS_MIN and word[1:].isupper()
    cost_max = _CAPITALS_COST_MAX if has_capitals_only else _SECOND_CAPITAL_COST_MAX
    return vocabulary.whole_cost(word.lower()) < cost_max


def _has_short_parts(word: str) -> bool:
    """Return whether a small letter is between capitals, and all parts of a word are short, and two very short."""
    if len(word) < _LETTERS_MIN or not _BETWEEN_CAPITALS.search(word) or _TWO_SYLLABLES.fullmatch(word):
        return False
    letters = [len(part) for part in _PART.findall(word)]
    return max(letters) <= _PART_MAX and sum([count <= _SHORT_PART for count in letters]) > 1


def _is_mixed(word: str) -> bool:
    return not word.isupper() and word[1:] != word[1:].lower()


def mixed_case(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that writes the mixed words of a text in lower case; all words, if most of them are mixed.

    The text must have odd words that are known: two different ones, or one that begins with a small letter, or one
    among mixed words. A single odd word with a capital in front can be a name: ``LaTeX``, ``VoIP``, ``NaOH``.
    """
    mixed = replacing(_WORD, lambda match: match[0].lower() if _is_mixed(match[0]) else match[0])
    all_words = replacing(_WORD, lambda match: match[0].lower())

    def edits(text: str) -> Iterable[Edit]:
        joined = [words.split("-") for words in _JOINED.findall(text) if not words.islower()]
        odd = {word for words in joined if all(_is_odd(word, vocabulary) for word in words) for word in words}
        if not odd:
            return ()
        words = _WORD.findall(text)
        if sum(map(_is_mixed, words)) > _SHARE_OF_RANDOM_CASE * len(words):
            return all_words(text)
        return mixed(text) if len(odd) > 1 or any(word[0].islower() for word in odd) else ()

    return (remembered(lambda text: tuple(edits(text)) if _LOOKED_AT.search(text) else ()),)

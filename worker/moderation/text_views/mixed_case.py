"""Words with capitals at random places (``kIlL yOuRsElF``): a tokenizer divides a word at most of its capitals."""

import re
from collections.abc import Iterable

from worker.moderation.text_views.rules import Edit, Rule, remembered, replacing
from worker.moderation.text_views.vocabulary import Vocabulary

_WORD = re.compile(r"(?<![\w@#/\\=+.$&])[A-Za-z]+(?![\w/\\=+@(]|\.[^\W\d_])")
"""A word that is not part of a link, a name or code."""
_ALONE = re.compile(rf"(?<!-){_WORD.pattern}(?!-)")
"""A word without a hyphen on either side: what hyphens join can be a part of an identifier."""
_BETWEEN_CAPITALS = re.compile("[A-Z][a-z][A-Z]")
"""A small letter between capitals: ``Triggers`` looks for the same."""
_PART = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A part of a name that is written together: ``You`` and ``Tube``, ``My`` and ``SQL``."""
_SHORT_PART, _PART_MAX = 2, 3
_LETTERS_MIN = 4
"""Letters of an odd word: ``LoL``, ``PhD`` and ``IoT`` are shorter."""
_WORDS_OF_ONE_MIXED = 3
_TWO_SYLLABLES = re.compile("[A-Z][a-z][A-Z][a-z]")
"""``WiFi``, ``YoYo``."""


def _is_odd(word: str) -> bool:
    """Return whether a word is probably no name and no code: its parts are short, and at least two very short."""
    if len(word) < _LETTERS_MIN or not _BETWEEN_CAPITALS.search(word) or _TWO_SYLLABLES.fullmatch(word):
        return False
    letters = [len(part) for part in _PART.findall(word)]
    return max(letters) <= _PART_MAX and sum([count <= _SHORT_PART for count in letters]) > 1


def _is_mixed(word: str) -> bool:
    return not word.isupper() and word[1:] != word[1:].lower()


def mixed_case(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule for a text that has an odd word which is known: it writes the mixed words in lower case.

    If every third word of the text is mixed, all of its words are written in lower case.
    """
    mixed = replacing(_WORD, lambda match: match[0].lower() if _is_mixed(match[0]) else match[0])
    all_words = replacing(_WORD, lambda match: match[0].lower())

    def edits(text: str) -> Iterable[Edit]:
        words = _ALONE.findall(text)
        if not any(_is_odd(word) and vocabulary.is_known(word) for word in words):
            return ()
        number = sum(map(_is_mixed, words))
        return (all_words if _WORDS_OF_ONE_MIXED * number >= len(words) else mixed)(text)

    return (remembered(lambda text: tuple(edits(text)) if _BETWEEN_CAPITALS.search(text) else ()),)

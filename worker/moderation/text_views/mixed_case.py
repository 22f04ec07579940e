"""Words with capitals at random places (``kIlL yOuRsElF``): most capitals begin a token of their own."""

import re
from collections.abc import Iterable

from worker.moderation.text_views.rules import Edit, Rule, remembered, replacing
from worker.moderation.text_views.vocabulary import Vocabulary

_WORD = re.compile(r"(?<![\w@#/\\=+$&])(?<!\w\.)[A-Za-z]+(?![\w/\\=+@(]|\.[^\W\d_])")
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
_SHARE_OF_RANDOM_CASE = 0.5
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
    """Return the rule that writes the mixed words of a text in lower case; all words, if most of them are mixed.

    The text must have odd words that are known: two different ones, or one that begins with a small letter, or one
    among mixed words. A single odd word with a capital in front can be a name: ``LaTeX``, ``VoIP``, ``NaOH``.
    """
    mixed = replacing(_WORD, lambda match: match[0].lower() if _is_mixed(match[0]) else match[0])
    all_words = replacing(_WORD, lambda match: match[0].lower())

    def edits(text: str) -> Iterable[Edit]:
        odd = {word for word in _ALONE.findall(text) if _is_odd(word) and vocabulary.is_known(word)}
        if not odd:
            return ()
        words = _WORD.findall(text)
        if sum(map(_is_mixed, words)) > _SHARE_OF_RANDOM_CASE * len(words):
            return all_words(text)
        return mixed(text) if len(odd) > 1 or any(word[0].islower() for word in odd) else ()

    return (remembered(lambda text: tuple(edits(text)) if _BETWEEN_CAPITALS.search(text) else ()),)

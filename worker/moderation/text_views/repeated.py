"""Repeated letters: ``kiiiill``."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import regex

from worker.moderation.text_views.rules import Edit, Rule, tokens
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

_RUN_IN_TOKEN = re.compile(r"([^\W\d_])\1\1\S*", re.IGNORECASE)
"""A letter three times in a row, and the rest of the token that it is in."""
_WORD_OR_LINK = regex.compile(r"(?:https?://|www\.)\S+|[\p{Lu}\p{Ll}\p{Lt}]{3,}")
_LONG_RUN = re.compile(r"([^\W\d_])\1\1", re.IGNORECASE)
_TOKEN_CACHED_MAX = 40
_ACRONYM_MAX = 4
_PAIR = 2
_UNKNOWN_MIN = 4
"""Different letters in a row that a word needs to be read although the vocabulary does not know it."""
READ_LETTERS_MAX = 1000
"""Letters of a text that are read piece by piece, which takes 7 microseconds a letter at most. In other unknown
words, a run becomes one letter."""

_NUMBERED = re.compile(r"[a-z]III\Z")
"""A Roman numeral after a word: ``HenryIII``."""


class _Repeated(NamedTuple):
    """A word with a letter three times in a row.

    Attributes:
        start: Offset of its first letter.
        end: Offset after its last letter.
        runs: Its letters in lower case, each with the length of its run; 3 stands for any longer run.
        cased: How its letters are written.
    """

    start: int
    end: int
    runs: "_Runs"
    cased: "_Cased"


_Runs = tuple[tuple[str, int], ...]
_Cased = Sequence[bool]
"""Whether the first letter, and whether every letter, is a capital."""


def repeated_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that shortens runs of a letter in a word with a run of three or more.

    A run of three or more letters stands for one or two. Scripts without upper and lower case stay: Korean writes
    its laughter so.
    """

    def edits(text: str) -> Iterator[Edit]:
        letters_left = READ_LETTERS_MAX
        for place, _, token in tokens(_RUN_IN_TOKEN, text):
            words_of = _words if len(token) <= _TOKEN_CACHED_MAX else _words_of_long_token
            for start, end, runs, cased in words_of(token):
                if len(runs) == 1 or (cased[1] and end - start <= _ACRONYM_MAX):
                    continue  # a sound, a row of signs such as ``www``, or an acronym such as ``IEEE``
                short = _with_single_letters(runs)
                if len(runs) <= WORD_LETTERS_MAX:
                    if (known := vocabulary.shortened(runs)) is not None:
                        short = known
                    elif len(runs) < _UNKNOWN_MIN:
                        continue  # ``yasss`` is a sound, and ``yas`` is not a word
                    elif (letters_left := letters_left - len(runs)) >= 0:
                        short = _likely(runs, vocabulary) or short
                yield place + start, place + end, _in_case(short, cased)

    return (edits,)


def _words_of_long_token(token: str) -> list[_Repeated]:
    """Return the words of a token that have a run of three or more."""
    return [
        _Repeated(match.start(), match.end(), _runs(match[0]), (match[0][0].isupper(), match[0].isupper()))
        for match in _WORD_OR_LINK.finditer(token)
        if match[0].isalpha() and _LONG_RUN.search(match[0]) and not _NUMBERED.search(match[0])
    ]


_words = lru_cache(maxsize=8192)(_words_of_long_token)


def _runs(word: str) -> _Runs:
    return tuple((letter, min(_PAIR + 1, len(list(run)))) for letter, run in groupby(word.lower()))


def _with_single_letters(runs: _Runs) -> str:
    """Return a word with one letter for each long run."""
    return "".join([letter if length > _PAIR else letter * length for letter, length in runs])


@lru_cache(maxsize=4096)
def _likely(runs: _Runs, vocabulary: Vocabulary) -> str | None:
    """Return an unknown word with its runs shortened to what is likely meant."""
    return vocabulary.read(
        [(letter, 2 * letter) if length > _PAIR else (letter * length,) for letter, length in runs]
    )


def _in_case(short: str, cased: _Cased) -> str:
    is_title, is_upper = cased
    if is_upper:
        return short.upper()
    return short[0].upper() + short[1:] if is_title else short

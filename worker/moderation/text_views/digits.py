"""Digits and signs for letters: ``k1ll`` and ``@ll``.

Some words can be read in two ways: ``70`` is a number or ``to``. What the rest of the text is like decides.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice, product

import regex

from worker.moderation.text_views.rules import Edit, Rule, begins_sentence, tokens
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

_LEET = {
    "0": "o",
    "1": "il",
    "2": "z",
    "3": "e",
    "4": "a",
    "5": "s",
    "6": "gb",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "il",
    "|": "il",
    "+": "t",
    "\u20ac": "e",
    "\u00a3": "l",
}
_ONE_LETTER = str.maketrans({sign: letters for sign, letters in _LEET.items() if len(letters) == 1})
_TWO_LETTERS = frozenset(sign for sign, letters in _LEET.items() if len(letters) > 1)
_LEET_AFTER_APOSTROPHE = str.maketrans({sign: letters[-1] for sign, letters in _LEET.items()})
"""After an apostrophe ``1`` is an ``l``: ``you'11``."""
_SIGN = r"0-9@$!|+\u20ac\u00a3"
_SIGNS = frozenset(_LEET)
_SIGN_IN_TOKEN = re.compile(rf"[{_SIGN}]\S*")
_RUN = re.compile(r"(?:[^\W_]|[@$!|+\u20ac\u00a3'\u2019])+")
_LINK = re.compile(r"https?://|www\.")
_WITH_SIGNS = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}_@$#/%'\u2019]|\d[.,:\-])(?=[\p{{L}}'\u2019]*[{_SIGN}])"
    rf"(?:[\p{{L}}{_SIGN}]*[\p{{L}}0-9$@](?:['\u2019][\p{{L}}{_SIGN}]*[\p{{L}}0-9$@])?|!(?=\s))"
    r"(?![\p{L}_/]|[.,:\-]\d+(?![\p{L}\d]))"
)
_RUN_MAX = 2 * WORD_LETTERS_MAX
_LOOK_AHEAD = 8
_TOKEN_CACHED_MAX = 40
_APOSTROPHE = re.compile("(['\u2019])")
_LETTERS = re.compile(r"[^\W\d_]")
_OTHER_SIGN = re.compile("[0-9$|+\u20ac\u00a3]")

READ_LETTERS_MAX = 1000
"""Letters of a text that are read piece by piece, which takes 7 microseconds a letter at most. In a text with more
unknown words in disguise, only known words are read."""
_LEET_WORDS_MIN = 2
_SHORT = 2
_SURE = 3
_INSIDE = re.compile(rf"[^\W\d_][{_SIGN}]+[^\W\d_]")
_READINGS_MAX = 8
"""Readings of a word that are looked up: three signs can each be two letters."""
_FREQUENT_EDGE_COST_MAX = math.log2(1500)
"""A sign at the end of a word is read as a letter only if that makes one of 1,500 words: ``4ll`` is ``all``."""
_ORDINAL = re.compile(r"\d*(?:1st|2nd|3rd)|\d+th|\d{2,}s")
_SINGLE = {"4": "a", "@": "a"}
"""Signs that are a word of one letter. Not 1 (``top 1`` has a number), and not ! (it ends a sentence)."""
_FREQUENT_COST_MAX = 9.0
"""Digits alone are read as a word only if it is one of about 500: ``70`` as ``to``."""

_Word = tuple[int, int, str]
"""A word with signs: its start and end, and its characters."""


def digits_for_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that reads digits and signs inside a word as letters, if that makes a known word.

    Where two words of a text are clearly written so, unknown words and words like a number are read too.
    """

    def edits(text: str) -> Iterator[Edit]:
        words = _words(text)
        readable = sum([_readable(word, vocabulary) for _, _, word in words])
        if not readable:
            return
        read = _reader(vocabulary, is_leet=readable >= _LEET_WORDS_MIN)
        are_names = _OTHER_SIGN.search(text) is None
        for start, end, word in words:
            if are_names and word[0] == "@":
                reading = _careful_reading(word.lower(), vocabulary)
            else:
                reading = read(word.lower())
            reading = _cased(word, reading)
            if reading == word:
                continue
            if not word[0].isalpha() and not are_names and begins_sentence(text, start):
                reading = reading[0].upper() + reading[1:]
            yield start, end, reading

    return (edits,)


def may_have_digits_for_letters(vocabulary: Vocabulary) -> Callable[[str], bool]:
    """Return the function that says whether the rule could change a text that has this piece between spaces.

    A rule changes nothing in a text without a readable word, and a piece has the words that it has in its text.
    """

    def may_have(piece: str) -> bool:
        found = tokens(_SIGN_IN_TOKEN, piece)
        words = [word for _, _, token in found for _, _, word in _words_of_long_token(f"{token} ")]
        words += [token for _, _, token in found if token[0] == "@" and len(token) <= WORD_LETTERS_MAX]
        return any(_readable(word, vocabulary) for word in words)

    return may_have


def _words(text: str) -> list[_Word]:
    """Return the words of a text that have a sign and are not part of a link or a number.

    In a text without other signs, a token that begins with an at sign is a name or one word.
    """
    words: list[_Word] = []
    are_names = "@" in text and _OTHER_SIGN.search(text) is None
    for start, end, token in tokens(_SIGN_IN_TOKEN, text):
        if are_names and token[0] == "@":
            if token.isascii() and len(token) <= WORD_LETTERS_MAX:
                words.append((start, end, token))
            continue
        words_of = _words_of_token if len(token) <= _TOKEN_CACHED_MAX else _words_of_long_token
        for begin, after, word in words_of(token if end == len(text) else f"{token} "):
            words.append((start + begin, start + after, word))
    return words


def _words_of_long_token(token: str) -> list[_Word]:
    """Return the words with signs of a token, which may be long."""
    if (link := _LINK.search(token)) is not None:
        token = token[: link.start()]
    words: list[_Word] = []
    for run in _RUN.finditer(token):
        if run.end() - run.start() > _RUN_MAX or _SIGNS.isdisjoint(run[0]):
            continue
        for word in _WITH_SIGNS.finditer(token, run.start(), run.end() + _LOOK_AHEAD):
            if word.start() >= run.end():
                break
            if len(word[0]) <= WORD_LETTERS_MAX and not _SIGNS.isdisjoint(word[0]):
                words.append((word.start(), word.end(), word[0]))
    return words


_words_of_token = lru_cache(maxsize=8192)(_words_of_long_token)


@lru_cache(maxsize=8192)
def _readable(word: str, vocabulary: Vocabulary) -> int:
    """Return 1 if a word is a known word without signs, 2 if it has a sign inside, and 0 for another word."""
    parts = _APOSTROPHE.split(word.lower(), maxsplit=1)
    if all(_careful_reading(part, vocabulary) == part for part in parts):
        return 0
    return 2 if len(word) > _SURE and _INSIDE.search(word) else 1


def _reader(vocabulary: Vocabulary, *, is_leet: bool) -> Callable[[str], str]:
    """Return the function that reads the words of one text: words in lower case, as they are likely meant."""
    letters_left = READ_LETTERS_MAX

    def carefully(word: str) -> str:
        return _careful_reading(word, vocabulary)

    def in_leet(word: str) -> str:
        nonlocal letters_left
        reading = _known_in_leet(word, vocabulary)
        if reading is not None or len(word) <= _SHORT or (word[0] == "@" and word[1:].isalpha()):
            return reading or word
        letters_left -= len(word)
        return (letters_left >= 0 and _likely_reading(word, vocabulary)) or word

    def read(word: str) -> str:
        first, *rest = _APOSTROPHE.split(word, maxsplit=1)
        if not rest:
            return in_leet(word) if is_leet else carefully(word)
        sign, last = rest
        if is_leet:
            return in_leet(first) + sign + in_leet(last.translate(_LEET_AFTER_APOSTROPHE))
        return carefully(first) + sign + carefully(last)

    return read


def _careful_reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word with letters in place of signs if that makes a known word; but ``step1`` and ``2nd`` stay."""
    if _ORDINAL.fullmatch(word):
        return word
    letters = len(_LETTERS.findall(word))
    if not letters or len(word) - letters > 2 * letters or len(word) <= _SHORT:
        return word
    has_edge_only = not _INSIDE.search(word)
    if has_edge_only and not any(_is_frequent(one, vocabulary) for one in _readings(word)):
        return word  # ``10TB``, ``A16``, ``@name``: most words with a sign end here, after a few look-ups
    reading = _known_reading(word, vocabulary)
    if reading is None or (has_edge_only and not _is_frequent(reading, vocabulary)):
        return word
    bare = word.strip("0123456789")
    is_numbered = bare.isalpha() and len(bare) >= _SHORT and vocabulary.cost(bare) <= vocabulary.cost(reading)
    return word if is_numbered else reading


def _known_in_leet(word: str, vocabulary: Vocabulary) -> str | None:
    """Return a word of a text that is written with digits for letters as a known word; itself if it is a number.

    Return None if it is neither.
    """
    if _ORDINAL.fullmatch(word):
        return word
    if len(word) == 1 and not word.isalpha():
        return _SINGLE.get(word, word)
    reading = _known_reading(word, vocabulary)
    if _LETTERS.search(word):
        return reading
    return reading if reading and vocabulary.cost(reading) < _FREQUENT_COST_MAX else word


@lru_cache(maxsize=8192)
def _likely_reading(word: str, vocabulary: Vocabulary) -> str | None:
    """Return an unknown word of a text that is written with digits for letters as it is likely meant."""
    return vocabulary.read([_LEET.get(letter, letter) for letter in word])


def _is_frequent(reading: str, vocabulary: Vocabulary) -> bool:
    return vocabulary.whole_cost(reading) <= _FREQUENT_EDGE_COST_MAX


def _readings(word: str) -> list[str]:
    """Return what a word in lower case can be. A reading is as long as the word."""
    if _TWO_LETTERS.isdisjoint(word):
        return [word.translate(_ONE_LETTER)]
    return [*map("".join, islice(product(*[_LEET.get(letter, letter) for letter in word]), _READINGS_MAX))]


@lru_cache(maxsize=8192)
def _known_reading(word: str, vocabulary: Vocabulary) -> str | None:
    costs = {reading: vocabulary.cost(reading) for reading in _readings(word)}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < math.inf else None


def _cased(word: str, reading: str) -> str:
    """Return a reading in lower case with the capitals of the word."""
    if reading == word or len(reading) != len(word):
        return reading
    is_upper = word.isupper() and (len(_LETTERS.findall(word)) > 1 or not word[0].isalpha())
    return "".join(
        new.upper() if is_upper or old.isupper() else new for old, new in zip(word, reading, strict=True)
    )

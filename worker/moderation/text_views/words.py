"""Words in disguise: signs inside words, separated letters, digits for letters, repeated letters.

Links and names of users (``@name``) stay as they are. Some words can be read in two ways: ``70`` is a number or
``to``. What the rest of the text is like decides: the functions with ``lru_cache(maxsize=1)`` look at a text once.
"""

import math
import re
from functools import lru_cache
from itertools import groupby, islice, product

import regex

from worker.moderation.text_views.rules import Match, Replace, Rule, begins_sentence
from worker.moderation.text_views.vocabulary import WORD_LETTERS_MAX, Vocabulary

_LINKS = ("http://", "https://", "www.")
_NOT_LINKS = r"(?:https?://|www\.)\S+(*SKIP)(*FAIL)"
WORDS_READ_MAX = 300
"""Words of a text that are read letter by letter, which takes 50 microseconds a word. In a text with more words in
disguise, only known words are read."""

SIGNS_INSIDE_WORDS = (
    Rule(
        regex.compile(
            rf"{_NOT_LINKS}|(?<=[\p{{Lu}}\p{{Ll}}\p{{Lt}}])(?:\*\*|__|~~|\|\||`{{1,3}}|</?[A-Za-z]{{1,10}}>|<!--[^<>]{{0,40}}-->"
            r"|&(?:shy|zwj|zwnj|#\d{2,7}|#x[0-9A-Fa-f]{2,6});|\[/?[A-Za-z]{1,10}\])+(?=\p{L})"
        ),
        "",
    ),
)
"""Marks of emphasis and tags between two letters."""

_PART = r"[\p{Lu}\p{Ll}0-9@$!]"
_BEGIN = r"(?<![\p{L}\p{N}\p{M}@$])[\p{Lu}\p{Ll}0-9@$]"
_SEPARATED = regex.compile(
    rf"{_NOT_LINKS}|{_BEGIN}(?P<gap>[.\-_*~]{{1,2}}){_PART}(?:(?P=gap){_PART})*(?![\p{{L}}\p{{N}}\p{{M}}@$])"
    rf"|(?<![\p{{L}}.\-_*~]\p{{L}}[.\-_*~]){_BEGIN}(?P<gap> {{1,2}}){_PART}(?:(?P=gap){_PART})*"
    r"(?![\p{L}\p{N}\p{M}@$])(?![.\-_*~]\p{L}[\p{L}.\-_*~])"
    r"|(?P<wide> {2,})"
)
_NO_PART = regex.compile(r"[^\p{L}\p{M}0-9@$!]+")
_LETTERS = regex.compile(r"\p{L}")
_WORD_SEPARATED_MIN = 3
_SEPARATED_WORDS_MIN = 2
_DIVIDED_MAX = 400
"""Letters that are divided into words. Dividing takes 20 look-ups for each letter."""


@lru_cache(maxsize=1)
def _separated_by(text: str, vocabulary: Vocabulary) -> frozenset[str]:
    """Return the gaps between the letters of at least two words: known words, or words of at least four letters."""
    counts: dict[str, int] = {}
    for match in islice(_SEPARATED.finditer(text), WORDS_READ_MAX):
        word = _NO_PART.sub("", match[0])
        if match["gap"] and _is_word(word) and (len(word) > _WORD_SEPARATED_MIN or vocabulary.is_known(word)):
            counts[match["gap"]] = counts.get(match["gap"], 0) + 1
    return frozenset(gap for gap, words in counts.items() if words >= _SEPARATED_WORDS_MIN)


def _is_word(word: str) -> bool:
    """Return whether joined letters can be a word: at least three, not all the same, and few digits."""
    letters, digits = len(_LETTERS.findall(word)), sum(map(str.isdigit, word))
    is_long = len(word) >= _WORD_SEPARATED_MIN and len(set(word)) > 1
    return is_long and letters * 2 >= len(word) and digits * 3 <= len(word)


def _joined(vocabulary: Vocabulary) -> Replace:
    def replaced(match: regex.Match[str]) -> str:
        gaps = _separated_by(match.string, vocabulary)
        if match["wide"]:
            return " " if " " in gaps else match[0]
        word = _NO_PART.sub("", match[0])
        if match["gap"] in gaps:
            return word if _LETTERS.search(word) else match[0]
        return _one_word(word, vocabulary, gap=match["gap"]) if _is_word(word) else match[0]

    return replaced


def _one_word(word: str, vocabulary: Vocabulary, *, gap: str) -> str:
    """Return the letters of the only separated word of a text, divided into known words if they are several."""
    if len(word) > _DIVIDED_MAX or vocabulary.is_known(word):
        return word
    if len(word) == _WORD_SEPARATED_MIN and gap.isspace():
        return gap.join(word)  # ``A y B``
    words = vocabulary.divided(word.lower())
    if words is None or len(words) * 2 > len(word):
        return word
    ends = [sum(map(len, words[: place + 1])) for place in range(len(words))]
    return " ".join(word[end - len(part) : end] for end, part in zip(ends, words, strict=True))


def separated_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that joins at least three single letters with the same gap between them.

    Where two words of a text are written so, pairs of letters are joined too. A single word without visible ends is
    divided into known words.
    """
    return (Rule(_SEPARATED, _joined(vocabulary)),)


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
_LEET_AFTER_APOSTROPHE = {sign: letters[-1] for sign, letters in _LEET.items()}
"""After an apostrophe ``1`` is an ``l``: ``you'11``."""
_SIGN = r"0-9@$!|+\u20ac\u00a3"
_SIGNS = frozenset(_LEET)
_TOKEN = re.compile(rf"(?<!\S)[^\s{_SIGN}]*+[{_SIGN}]\S*")
_WITH_SIGNS = regex.compile(
    rf"{_NOT_LINKS}|(?<![\p{{L}}\p{{N}}_@$#/%'\u2019]|\d[.,:\-])(?=[\p{{L}}'\u2019]*[{_SIGN}])"
    rf"(?:[\p{{L}}{_SIGN}]*[\p{{L}}0-9$@](?:['\u2019][\p{{L}}{_SIGN}]*[\p{{L}}0-9$@])?|!(?=\s))"
    r"(?![\p{L}_/]|[.,:\-]\d+(?![\p{L}\d]))"
)
_APOSTROPHE = regex.compile("(['\u2019])")
_LEET_WORDS_MIN = 2
_READINGS_MAX = 8
"""Readings of a word that are looked up: three signs can each be two letters."""
_FREQUENT_EDGE_COST_MAX = math.log2(1500)
"""A sign at the end of a word is read as a letter only if that makes one of 1,500 words: ``4ll`` is ``all``."""
_ORDINAL = re.compile(r"\d*(?:1st|2nd|3rd)|\d+th|\d{2,}s")
_SINGLE = "1!4@"
"""Signs that are a word of one letter: ``I`` or ``a``."""
_FREQUENT_COST_MAX = 9.0
"""Digits alone are read as a word only if it is one of about 500: ``70`` as ``to``."""


@lru_cache(maxsize=1)
def _is_leet(text: str, vocabulary: Vocabulary) -> bool:
    """Return whether two words, or one with a sign inside, are known words without signs."""
    found = 0
    for match in islice(_WITH_SIGNS.finditer(text), WORDS_READ_MAX):
        word = match[0].lower()
        if (
            len(word) > _SHORT
            and not _SIGNS.isdisjoint(word)
            and _LETTERS.search(word)
            and _careful_reading(word, vocabulary) != word
        ):
            found += 2 if len(word) > _SURE and _INSIDE.search(word) else 1
            if found >= _LEET_WORDS_MIN:
                return True
    return False


_SHORT = 2
_SURE = 3
_INSIDE = regex.compile(rf"\p{{L}}[{_SIGN}]+\p{{L}}")


@lru_cache(maxsize=1)
def _has_other_sign(text: str) -> bool:
    """Return whether a text has a sign other than an at sign or an exclamation mark."""
    return _OTHER_SIGN.search(text) is not None


_OTHER_SIGN = re.compile("[0-9$|+\u20ac\u00a3]")


def _spelled(vocabulary: Vocabulary) -> Replace:
    def replaced(match: re.Match[str]) -> str:
        token = match[0]
        if token.startswith(_LINKS):
            return token
        text, start = match.string, match.start()
        if token[0] == "@" and not _has_other_sign(text):  # a name, or one word
            return _cased(token, _careful_reading(token.lower(), vocabulary)) if token.isascii() else token
        return _WITH_SIGNS.sub(lambda word: _read(word, text, start + word.start(), vocabulary), token)

    return replaced


def _read(match: Match, text: str, start: int, vocabulary: Vocabulary) -> str:
    word = match[0]
    if len(word) > WORD_LETTERS_MAX or _SIGNS.isdisjoint(word):
        return word
    read = _leet_reading if _is_leet(text, vocabulary) else _careful_reading
    first, *rest = _APOSTROPHE.split(word.lower(), maxsplit=1)
    if rest and read is _leet_reading:
        rest[1] = "".join(_LEET_AFTER_APOSTROPHE.get(letter, letter) for letter in rest[1])
    reading = _cased(word, "".join([read(first, vocabulary), *rest]))
    hides_capital = reading != word and not word[0].isalpha() and begins_sentence(text, start)
    return reading[0].upper() + reading[1:] if hides_capital else reading


@lru_cache(maxsize=8192)
def _careful_reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word with letters in place of signs if that makes a known word; but ``step1`` and ``2nd`` stay."""
    if _ORDINAL.fullmatch(word):
        return word
    letters = len(_LETTERS.findall(word))
    bare = word.strip("0123456789")
    if not letters or len(word) - letters > 2 * letters:
        return word
    reading = _known_reading(word, vocabulary)
    if reading is None or len(reading) <= _SHORT:
        return word
    if not _INSIDE.search(word) and vocabulary.whole_cost(reading) > _FREQUENT_EDGE_COST_MAX:
        return word  # ``10TB``, ``A16``
    is_numbered = bare.isalpha() and len(bare) >= _SHORT and vocabulary.cost(bare) <= vocabulary.cost(reading)
    return word if is_numbered else reading


@lru_cache(maxsize=8192)
def _leet_reading(word: str, vocabulary: Vocabulary) -> str:
    """Return a word of a text that is written with digits for letters as a known word, or as it is likely meant."""
    if _ORDINAL.fullmatch(word):
        return word
    reading = _known_reading(word, vocabulary)
    letters = len(_LETTERS.findall(word))
    if not letters:
        is_word = word in _SINGLE if len(word) == 1 else reading and vocabulary.cost(reading) < _FREQUENT_COST_MAX
        return reading if reading and is_word else word
    if reading is None and len(word) > _SHORT and not (word[0] == "@" and word[1:].isalpha()):
        reading = vocabulary.read([_LEET.get(letter, letter) for letter in word])
    return reading or word


def _known_reading(word: str, vocabulary: Vocabulary) -> str | None:
    readings = islice(product(*(_LEET.get(letter, letter) for letter in word)), _READINGS_MAX)
    costs = {(spelled := "".join(reading)): vocabulary.cost(spelled) for reading in readings}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < math.inf else None


def _cased(word: str, reading: str) -> str:
    """Return a reading in lower case with the capitals of the word."""
    if len(reading) != len(word):
        return reading
    is_upper = word.isupper() and (len(_LETTERS.findall(word)) > 1 or not word[0].isalpha())
    if reading == "i":
        return "I"
    return "".join(
        new.upper() if is_upper or old.isupper() else new for old, new in zip(word, reading, strict=True)
    )


def digits_for_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that reads digits and signs inside a word as letters, if that makes a known word.

    Where two words of a text are clearly written so, unknown words and words like a number are read too.
    """
    return (Rule(_TOKEN, _spelled(vocabulary)),)


_LETTERS_OR_LINK = re.compile(r"(?:https?://|www\.)\S+|[^\W\d_]+")
_PAIR = 2
_UNKNOWN_MIN = 4
"""Different letters in a row that a word needs to be read although the vocabulary does not know it."""
_LONG_RUN = re.compile(r"([^\W\d_])\1{2,}", re.IGNORECASE)


def _shortened(vocabulary: Vocabulary) -> Replace:
    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) <= _PAIR or not word.isalpha() or (run := _LONG_RUN.search(word)) is None:
            return word
        if run[1].lower() == run[1].upper():
            return word  # a script without cases: Korean writes its laughter so
        return _short(word, vocabulary)

    return replaced


@lru_cache(maxsize=8192)
def _short(word: str, vocabulary: Vocabulary) -> str:
    """Return a word with its runs shortened to a known word, or to what is likely meant.

    A run of three or more letters stands for one or two.
    """
    runs = [(letter, len(list(run))) for letter, run in groupby(word.lower())]
    if len(runs) == 1:
        return word  # a sound or a row of signs, such as ``www``
    if len(runs) > WORD_LETTERS_MAX:
        return _LONG_RUN.sub(r"\1", word)
    if (found := vocabulary.shortened(runs)) is None:
        if len(runs) < _UNKNOWN_MIN:
            return word  # ``yasss`` is a sound, and ``yas`` is not a word
        found = vocabulary.read(
            [(letter, 2 * letter) if length > _PAIR else (letter * length,) for letter, length in runs]
        )
    if found is None:
        return _LONG_RUN.sub(r"\1", word)
    if word.isupper():
        return found.upper()
    return found[0].upper() + found[1:] if word[0].isupper() else found


def repeated_letters(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule that shortens runs of a letter in a word with a run of three or more."""
    return (Rule(_LETTERS_OR_LINK, _shortened(vocabulary)),)

"""Letters of other scripts that look like Latin ones.

The table of look-alikes is that of ``decancer``, which is made for chat and knows more than Unicode's confusables.
decancer answers in lower case; a capital stays a capital.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import decancer_py
import regex
import unicodedata2

from worker.moderation.text_views.rules import Edit, Rule
from worker.moderation.text_views.vocabulary import Vocabulary

_SCRIPT_NAMES = """
    Cyrillic Greek Armenian Cherokee Lisu Coptic Georgian Deseret Canadian_Aboriginal Tifinagh Osage Old_Italic
    Warang_Citi Vai Runic Gothic Carian Lycian Lydian Ogham Bamum
"""
"""Scripts with letters that are drawn like Latin ones. Chinese, Japanese, Korean and Indian words that touch Latin
letters are ordinary, so these scripts are not here."""
_SCRIPTS = "".join(rf"\p{{Script={name}}}" for name in _SCRIPT_NAMES.split())
_SMALL_CAPITALS = (
    "\u0250-\u0252\u0261-\u0263\u0269\u026a\u0274\u0280\u028f\u0299\u029c"
    "\u029f\u1d00-\u1d2b\ua730\ua731\ua7ae\ua7af"
)
ODD = rf"{_SCRIPTS}{_SMALL_CAPITALS}"
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_ODD_LETTER = regex.compile(rf"[{ODD}]")
_LATIN_LETTER = regex.compile(r"\p{Script=Latin}")
_WORDS = regex.compile(r"\p{L}{2,}")


_LOOSE = frozenset(
    "\u0431\u0432\u0433\u0434\u0436\u0437\u0438\u0439\u043b\u043f\u0444\u0446\u0447\u0448\u0449\u044a\u044b\u044d\u044e\u044f"
    "\u0411\u0413\u0414\u0416\u0418\u0419\u041b\u041f\u0424\u0426\u0427\u0428\u0429\u042a\u042b\u042d\u042e\u042f"
    "\u0393\u0394\u0398\u039b\u039e\u03a0\u03a3\u03a6\u03a8\u03b4\u03b6\u03b8\u03bb\u03bc\u03be\u03c0\u03c2\u03c3\u03c6\u03c8"
)
"""Cyrillic and Greek letters that resemble a Latin letter only inside a Latin word: decancer reads a Cyrillic I as
``n``. Words with them are Latin only if most of their letters are."""
_OWN = {"\u04cf": "l", "\u04c0": "I", "\u042c": "b"}
"""Where a chat font shows another letter than decancer's answer, or in another case."""


class LatinLetters(dict[int, str]):
    """The Latin letter that each code point looks like, or the character itself; found when it is asked for.

    Args:
        letters: The characters that are looked at.
    """

    def __init__(self, letters: regex.Pattern[str]) -> None:
        super().__init__()
        self._letters = letters

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        self[code] = found = _base(letter) or _latin(letter) if self._letters.match(letter) else letter
        return found


_LATIN = LatinLetters(_ODD_LETTER)


def _base(letter: str) -> str:
    """Return the ASCII letter that a letter has without its marks; an empty string if it is another letter."""
    first = unicodedata2.normalize("NFD", letter)[0]
    return first if first.isascii() and first.isalpha() else ""


def _latin(letter: str) -> str:
    """Return the Latin letter that a letter looks like, or the letter itself."""
    if letter in _OWN:
        return _OWN[letter]
    try:
        found = str(decancer_py.parse(letter))
    except ValueError:
        return letter
    if not (len(found) == 1 and found.isascii() and found.isalpha()):
        return letter
    return found.upper() if letter.isupper() else found


_KNOWN_LETTERS_MIN = 3
"""A word of one or two letters looks like a Latin word too easily."""


def _shown(word: str) -> str:
    """Return the word with Latin letters. A capital after a small letter becomes small."""
    shown = word.translate(_LATIN)
    if shown.islower() or shown.isupper():
        return shown
    return "".join(
        new.lower() if new != old and place and shown[place - 1].islower() else new
        for place, (old, new) in enumerate(zip(word, shown, strict=True))
    )


_Condition = Literal["always", "mixed", "latin"]
"""The texts in which a word is shown with Latin letters: all; those that mix scripts in a word; those and all with
mostly Latin words."""


@lru_cache(maxsize=8192)
def _reading(word: str, vocabulary: Vocabulary) -> tuple[str, _Condition] | None:
    """Return a word with Latin letters, and in which texts it is meant so; None if it stays in every text."""
    shown = _shown(word)
    if shown == word or (not shown.isascii() and _ODD_LETTER.search(shown)):
        return None
    latin_letters = sum(old == new for old, new in zip(word, shown, strict=True) if _LATIN_LETTER.match(old))
    if latin_letters * 2 > len(word):
        return shown, "always"
    if not _LOOSE.isdisjoint(word):
        return None
    if latin_letters:
        return shown, "always"
    is_known = len(word) >= _KNOWN_LETTERS_MIN and vocabulary.whole_cost(shown.lower()) < math.inf
    if is_known and _SMALL_CAPITALS_ONLY.fullmatch(word):
        return shown, "always"
    return shown, "latin" if is_known else "mixed"


_SMALL_CAPITALS_ONLY = regex.compile(rf"[{_SMALL_CAPITALS}\p{{Script=Latin}}]+")
_MIXED = regex.compile(rf"\p{{Script=Latin}}(?=[{_SCRIPTS}])|(?<=[{_SCRIPTS}])\p{{Script=Latin}}")


def _is_mostly_latin(text: str) -> bool:
    """Return whether most words of at least two letters have a Latin letter."""
    words = _WORDS.findall(text)
    return sum(1 for word in words if word.isascii() or _LATIN_LETTER.search(word)) * 2 > len(words)


def look_alikes(vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return the rule for words that mix scripts, or that are known words among Latin ones."""

    def edits(text: str) -> Iterator[Edit]:
        is_mostly_latin = mixes_scripts = None
        for match in _WORD.finditer(text):
            word = match[0]
            if word.isascii() or (reading := _reading(word, vocabulary)) is None:
                continue
            shown, condition = reading
            if condition != "always":
                if is_mostly_latin is None:
                    is_mostly_latin = _is_mostly_latin(text)
                    mixes_scripts = is_mostly_latin and _MIXED.search(text) is not None
                if not (mixes_scripts or (is_mostly_latin and condition == "latin")):
                    continue
            yield match.start(), match.end(), shown

    return (edits,)

"""Which texts a step could change, for many texts together: most chat is already what a reader sees.

The code points of all texts are one array. A table gives each code point its classes, and comparisons of neighbours
find what the steps look for. That takes about half a microsecond for a message of chat; a search with a regular
expression takes 4. It may name a text that no step changes, but it never misses one: tests compare.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from worker.moderation.text_views.fonts import FONT
from worker.moderation.text_views.invisible import INVISIBLE
from worker.moderation.text_views.letters import COMPATIBLE, ENCLOSED, STACKING
from worker.moderation.text_views.lookalikes import ODD


class Trigger:
    """What a text has: the bits of its flags. An operation of ``enum.IntFlag`` would take a microsecond."""

    INVISIBLE = 1
    """An invisible character, a control, or a mark of direction."""
    FORM = 2
    """A compatibility form of a letter or digit."""
    ENCLOSED = 4
    """An enclosed letter or a regional indicator."""
    MARK = 8
    """A combining mark that belongs to no script."""
    ODD = 16
    """A letter of a script that looks like Latin."""
    LATIN = 32
    """A Latin letter."""
    REPEATED = 64
    """A letter three times in a row."""
    SIGNED = 128
    """A digit or a sign that touches a letter."""
    MARKED = 256
    """A letter before a character of markup."""
    SEPARATED = 512
    """Three single letters in a row."""
    FONT = 1024
    """Three letters of a font in a row."""


_OF_CHARACTERS = Trigger.INVISIBLE | Trigger.FORM | Trigger.ENCLOSED | Trigger.MARK | Trigger.ODD | Trigger.LATIN
_CASED, _WORD, _SIGN, _INNER_SIGN, _MARKUP, _EXCLAMATION, _FONT = (2048 << place for place in range(7))
_PADDING = 3
"""Places after the last text: the farthest neighbour that is looked at."""
_GAP_MAX = 4
"""Places from a single letter to the next one."""
_BORDER = "\f"
"""What is put between two texts: it has no class."""
_SPECIAL = 0x20000
"""Above it are rare Chinese characters, and from U+E0000 invisible ones."""
_CLASSES: dict[int, str] = {
    Trigger.INVISIBLE: f"[{INVISIBLE}]",
    Trigger.FORM: f"[{COMPATIBLE}]",
    Trigger.ENCLOSED: f"[{ENCLOSED}]",
    Trigger.MARK: f"[{STACKING}]",
    Trigger.ODD: f"[{ODD}]",
    Trigger.LATIN: r"\p{Script=Latin}",
    _CASED: r"[\p{Lu}\p{Ll}\p{Lt}]",
    _WORD: r"[\p{L}\p{N}\p{M}@$]",
    _SIGN: r"[0-9@$\u20ac\u00a3]",
    _INNER_SIGN: r"[!|+]",
    _MARKUP: r"[*~`_|<&\[]",
    _EXCLAMATION: "!",
    _FONT: FONT,
}


@cache
def _table() -> NDArray[np.uint32]:
    """Return the classes of each code point up to ``_SPECIAL``, and of the invisible ones as the last."""
    characters = "".join(chr(0xFFFF if 0xD800 <= code < 0xE000 else code) for code in range(_SPECIAL))  # noqa: PLR2004 - surrogates
    table = np.zeros(_SPECIAL + 2, np.uint32)
    for class_, pattern in _CLASSES.items():
        for match in regex.finditer(f"(?:{pattern})+", characters, regex.VERSION1):
            table[match.start() : match.end()] |= class_
    table[-1] = Trigger.INVISIBLE
    return table


@cache
def _ascii_table() -> NDArray[np.uint32]:
    return _table()[:128].copy()


@cache
def _ascii_lower_case() -> NDArray[np.uint8]:
    return _lower_case()[:128].astype(np.uint8)


@cache
def _lower_case() -> NDArray[np.uint32]:
    """Return the small letter of each code point up to ``_SPECIAL``; the code points above it are one letter."""
    return np.array([ord(chr(code).lower()[0]) for code in range(_SPECIAL + 2)], np.uint32)


def triggers(texts: Sequence[str]) -> list[int]:
    """Return what each text has, as flags of ``Trigger``."""
    others = [index for index, text in enumerate(texts) if not text.isascii()]
    if not others or len(others) == len(texts):
        return _flags(texts) if texts else []
    flags = _flags(["" if not text.isascii() else text for text in texts])  # ASCII has a quarter of the bytes
    for index, found in zip(others, _flags([texts[index] for index in others]), strict=True):
        flags[index] = found
    return flags


def _classes(joined: str) -> tuple[NDArray[np.uint32], NDArray[Any]]:
    """Return the classes and the small letter of each character of a text."""
    if joined.isascii():
        ascii_codes = np.frombuffer(joined.encode("ascii"), np.uint8)
        return _ascii_table()[ascii_codes], _ascii_lower_case()[ascii_codes]
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    places = np.minimum(codes, _SPECIAL)
    places[codes >= 0xE0000] = _SPECIAL + 1  # noqa: PLR2004 - as above
    return _table()[places], _lower_case()[places]


def _flags(texts: Sequence[str]) -> list[int]:
    classes, lower = _classes(_BORDER.join(texts) + _BORDER * (_PADDING + 1))
    found = (classes & _OF_CHARACTERS)[:-_PADDING]
    cased, sign, markup = (classes & class_ != 0 for class_ in (_CASED, _SIGN, _MARKUP))
    same = lower[:-1] == lower[1:]
    same[:-1] &= same[1:]
    touching = (cased[:-1] & sign[1:]) | (cased[1:] & (classes[:-1] & (_SIGN | _INNER_SIGN) != 0))
    for trigger, places in (
        (Trigger.REPEATED, cased[:-1] & same),
        (Trigger.SIGNED, touching),
        (Trigger.MARKED, cased[:-1] & markup[1:]),
    ):
        found |= places[: 1 - _PADDING] * np.uint32(trigger)
    if (classes & _FONT).any():
        font = classes & _FONT != 0
        found |= (font[:-2] & font[1:-1] & font[2:])[: 2 - _PADDING] * np.uint32(Trigger.FONT)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
    flags: list[int] = np.bitwise_or.reduceat(found, starts).tolist()
    for index in _separated(classes, starts):
        flags[index] |= Trigger.SEPARATED
    return flags


def _separated(classes: NDArray[np.uint32], starts: NDArray[np.int64]) -> list[int]:
    """Return the texts with three single letters in a row, each with one to three signs after it."""
    word = np.concatenate(([False], classes & _WORD != 0, [False]))
    letter = classes & (_WORD | _EXCLAMATION) != 0
    single = np.flatnonzero(letter & ~word[:-2] & ~word[2:])
    gap = np.diff(single)
    near = (gap > 1) & (gap <= _GAP_MAX)
    rows = np.flatnonzero(near[:-1] & near[1:])
    first, last = (np.searchsorted(starts, single[rows + place], "right") for place in (0, 2))
    found: list[int] = (first[first == last] - 1).tolist()
    return found

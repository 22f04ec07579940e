"""Which texts a step could change, for many texts together: most chat is already what a reader sees.

The characters of all texts are one array. A first table maps each character to its kind. A second table maps two
neighbouring kinds to bits. A bit is set for three neighbours if it is set for both of their pairs. A message of
chat takes a fifth to half of a microsecond; a search with a regular expression takes 4. The answer may name a text
that no step changes, but it never misses a text that a step changes: tests compare.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from worker.moderation.text_views.accents import ACCENTED
from worker.moderation.text_views.capitals import AFTER_FIRST_I, AROUND_L
from worker.moderation.text_views.fonts import FONT
from worker.moderation.text_views.invisible import INVISIBLE
from worker.moderation.text_views.letters import COMPATIBLE, ENCLOSED, STACKING
from worker.moderation.text_views.lookalikes import ODD
from worker.moderation.text_views.signs import RARE_SIGNS


class Trigger:
    """The flags of a text, as bits. Not an ``enum.IntFlag``: an operation of it would take a microsecond."""

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
    """A digit or a sign that touches a letter, or touches a sign that can touch one: ``th!5``."""
    MARKED = 256
    """A letter before a character of markup."""
    SEPARATED = 512
    """Three single letters in a row."""
    FONT = 1024
    """Three letters of a font in a row."""
    ACCENT = 2048
    """A letter that is not ASCII, and has an accent or resembles a letter of ASCII."""
    CAPITAL = 4096
    """A capital I after a small letter."""
    RARE = 8192
    """A capital I, a small l or a sign between letters where it is rare, a small letter between capitals, a capital
    after a small first letter, or the last letter of ``:letter_k:``."""


_FLAGS = 16384 - 1

_OF_CHARACTERS = (
    Trigger.INVISIBLE
    | Trigger.FORM
    | Trigger.ENCLOSED
    | Trigger.MARK
    | Trigger.ODD
    | Trigger.LATIN
    | Trigger.ACCENT
)
_SINGLE, _MAYBE_REPEATED = 16384, 32768
"""Further bits of three neighbours: the second is a single letter; the letters are not ASCII and could be equal."""
_CASED, _WORD, _SIGN, _INNER_SIGN, _MARKUP, _EXCLAMATION, _FONT = (65536 << place for place in range(7))
_SMALL_LETTER, _I, _AFTER_I, _L, _BEFORE_WORD, _CAPITAL, _DASH, _COLON, _RARE_SIGN = (
    65536 << place for place in range(7, 16)
)
_GAP_MAX = 5
"""Places from a single letter to the next one: the gaps of ``separated`` have at most four characters."""
_BORDER = " "
"""What is put between two texts: it has no class."""
_AFTER = ("", "", "")
"""Texts after the last one, whose borders are the neighbours of its last characters."""
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
    _WORD: r"[[\p{L}\p{N}\p{M}@$]--\ufe0f]",
    _SIGN: r"[0-9@$\u20ac\u00a3]",
    _INNER_SIGN: r"[!|+]",
    _MARKUP: r"[*~`_|<&\[]",
    _EXCLAMATION: "!",
    _FONT: FONT,
    Trigger.ACCENT: f"[{ACCENTED}]",
    _SMALL_LETTER: "[a-z]",
    _I: "I",
    _AFTER_I: f"[{AFTER_FIRST_I}]",
    _L: "l",
    _BEFORE_WORD: "[^A-Za-z0-9_@$]",
    _CAPITAL: "[A-Z]",
    _DASH: "[-_]",
    _COLON: ":",
    _RARE_SIGN: f"[{RARE_SIGNS}]",
}


class _Tables(NamedTuple):
    """The kinds of characters, and the bits of their pairs.

    Attributes:
        kinds: The kind of each code point up to ``_SPECIAL``; the last item is the kind of the invisible ones from
            U+E0000. Each letter of ASCII is a kind of its own, in both cases. All other characters with the same
            classes are one kind.
        ascii_kinds: The same for each byte, for ``bytes.translate``.
        pairs: The bits of each pair of kinds. The index is 256 times the second kind plus the first kind. The upper
            16 bits are for three characters that begin with the pair. The lower 16 bits are for three characters
            that end with it.
    """

    kinds: NDArray[np.uint8]
    ascii_kinds: bytes
    pairs: NDArray[np.uint32]


@cache
def _tables() -> _Tables:
    characters = "".join(chr(0xFFFF if 0xD800 <= code < 0xE000 else code) for code in range(_SPECIAL))  # noqa: PLR2004 - surrogates
    letters = np.zeros(_SPECIAL + 2, np.int64)
    letters[range(ord("a"), ord("z") + 1)] = letters[range(ord("A"), ord("Z") + 1)] = range(1, 27)
    classes = letters << 32
    for class_, pattern in _CLASSES.items():
        for match in regex.finditer(f"(?:{pattern})+", characters, regex.VERSION1):
            classes[match.start() : match.end()] |= class_
    classes[_SPECIAL] = _BEFORE_WORD  # not all of them are letters: some are not assigned
    classes[-1] = Trigger.INVISIBLE | _BEFORE_WORD
    of_kind, kinds = np.unique(classes, return_inverse=True)
    assert len(of_kind) <= 256, "a kind is a byte"  # noqa: PLR2004, S101 - a byte
    kinds = kinds.astype(np.uint8)
    return _Tables(kinds, kinds[:128].tobytes() + bytes(128), _pairs(of_kind & 0xFFFFFFFF, of_kind >> 32))


def _pairs(classes: NDArray[np.int64], letters: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return ``_Tables.pairs``.

    Args:
        classes: The classes of each kind.
        letters: The ASCII letter of each kind; 0 for another kind.
    """

    def has(classes_: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = classes & classes_ != 0
        return found

    def both(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return first[None, :] & second[:, None]

    cased, letter = has(_CASED), has(_WORD | _EXCLAMATION)
    small, capital = has(_SMALL_LETTER), has(_CAPITAL)
    same = (letters[None, :] == letters[:, None]) & both(letters != 0, letters != 0)
    maybe_same = both(cased, cased) & (same | ~both(letters != 0, letters != 0))
    equal = same * Trigger.REPEATED | maybe_same * _MAYBE_REPEATED
    fonts = both(has(_FONT), has(_FONT)) * Trigger.FONT
    touching = both(cased, has(_SIGN)) | both(has(_SIGN | _INNER_SIGN), cased) | both(has(_INNER_SIGN), has(_SIGN))
    of_pair = touching * Trigger.SIGNED | both(small, has(_I)) * Trigger.CAPITAL
    of_pair |= both(cased, has(_MARKUP)) * Trigger.MARKED
    around_l = np.isin(letters, [ord(letter) - ord("a") + 1 for letter in AROUND_L])
    rare_begin = both(has(_BEFORE_WORD), has(_I)) | both(has(_DASH), cased)
    rare_begin |= both(has(_BEFORE_WORD | _CAPITAL) | around_l, has(_L))
    rare_end = both(has(_I), has(_AFTER_I)) | both(cased, has(_COLON))
    rare_end |= both(has(_L), has(_CAPITAL | _L) | around_l)
    rare_end |= both(has(_RARE_SIGN), cased)
    rare_begin |= both(has(_BEFORE_WORD) | capital, small)
    rare_end |= both(small, capital)
    begin = (classes & _OF_CHARACTERS)[None, :] | of_pair | equal | fonts | both(~has(_WORD), letter) * _SINGLE
    begin |= (rare_begin | both(cased, has(_RARE_SIGN))) * Trigger.RARE
    any_end = _OF_CHARACTERS | Trigger.SIGNED | Trigger.MARKED | Trigger.CAPITAL
    end = any_end | equal | fonts | both(letter, ~has(_WORD)) * _SINGLE | rare_end * Trigger.RARE
    pairs = np.zeros((len(classes), 256), np.uint32)
    pairs[:, : len(classes)] = begin << 16 | end
    return pairs.ravel()


@cache
def _lower_case() -> NDArray[np.uint32]:
    """Return the small letter of each code point up to ``_SPECIAL``; the code points above it are one letter."""
    return np.array([ord(chr(code).lower()[0]) for code in range(_SPECIAL + 2)], np.uint32)


class Piece(NamedTuple):
    """A part of a text between two spaces.

    Attributes:
        number: The number of the text.
        start: Offset of its first character in the text.
        text: The part.
    """

    number: int
    start: int
    text: str


class Triggers:
    """The triggers of many texts.

    Attributes:
        flags: ``[N]`` flags of ``Trigger``, one item for each text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Find the triggers of each text.

        Args:
            texts: At least one text.
        """
        are_ascii = [*map(str.isascii, texts)]
        self._others = [] if all(are_ascii) else [index for index, one in enumerate(are_ascii) if not one]
        ascii_texts, others = [*texts], [texts[index] for index in self._others]
        for index in self._others:
            ascii_texts[index] = ""
        # ASCII has a quarter of the bytes, so the other texts come after it.
        self._ascii = _BORDER.join(["", *ascii_texts, ""])
        self._other = _BORDER.join([*others, *_AFTER])
        tables = _tables()
        kinds = self._ascii.encode().translate(tables.ascii_kinds)
        places = _places(self._other)
        kinds += tables.kinds[places].tobytes()
        pairs = tables.pairs.take(np.ndarray((len(kinds) - 1,), "<u2", kinds, 0, (1,)))
        self._found = found = (pairs[:-1] >> np.uint32(16)) & pairs[1:]
        self._lengths = np.fromiter(map(len, [*ascii_texts, *others]), np.int64, len(texts) + len(others))
        self._starts = np.cumsum(self._lengths + 1) - self._lengths
        if others:
            self._find_repeated(places)
        flags = np.bitwise_or.reduceat(found, self._starts - 1) & _FLAGS
        if separated := _separated(found, self._starts):
            flags[separated] |= Trigger.SEPARATED
        if others:
            flags[self._others] = flags[len(texts) :]
        self.flags = flags[: len(texts)]

    def pieces(self, *, characters_max: int) -> Iterator[Piece]:
        """Yield each piece that makes its text ``REPEATED`` or ``SIGNED``, in the order of each text.

        Args:
            characters_max: Characters of a text; the pieces of longer texts are left out.
        """
        joined, own = self._ascii + self._other, len(self._starts) - len(self._others)
        places = _where(self._found, Trigger.REPEATED | Trigger.SIGNED)
        texts = np.searchsorted(self._starts, places, "right") - 1
        are_short = self._lengths[texts] <= characters_max
        firsts = self._starts[texts]
        done = 0
        columns = (column[are_short].tolist() for column in (places, texts, firsts))
        for place, text, first in zip(*columns, strict=True):
            if place >= done:
                start = joined.rfind(_BORDER, 0, place) + 1
                done = joined.find(_BORDER, place)
                yield Piece(text if text < own else self._others[text - own], start - first, joined[start:done])

    def _find_repeated(self, places: NDArray[np.uint32]) -> None:
        """Find the letters three times in a row that are not ASCII."""
        found, lower = self._found[len(self._ascii) :], _lower_case()
        maybe = (found & (_MAYBE_REPEATED | Trigger.REPEATED) == _MAYBE_REPEATED).nonzero()[0]
        if len(maybe):
            letter = lower[places[maybe]]
            same = (letter == lower[places[maybe + 1]]) & (letter == lower[places[maybe + 2]])
            found[maybe[same]] |= Trigger.REPEATED


def _places(text: str) -> NDArray[np.uint32]:
    """Return the index of each character in ``_Tables.kinds``."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    places = np.minimum(codes, _SPECIAL)
    places[codes >= 0xE0000] = _SPECIAL + 1  # noqa: PLR2004 - as above
    return places


def _where(found: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """Return the indexes with one of these bits. ``nonzero`` of booleans is five times as fast as of integers."""
    places: NDArray[np.int64] = (found & bits != 0).nonzero()[0]
    return places


def _separated(found: NDArray[np.uint32], starts: NDArray[np.int64]) -> list[int]:
    """Return the texts with three single letters in a row. One to three signs separate two of the letters."""
    single = _where(found, _SINGLE)
    gap = np.diff(single)
    near = (gap > 1) & (gap <= _GAP_MAX)
    rows = (near[:-1] & near[1:]).nonzero()[0]
    if not len(rows):
        return []
    first, last = (np.searchsorted(starts, single[rows + place] + 1, "right") for place in (0, 2))
    of_texts: list[int] = (first[first == last] - 1).tolist()
    return of_texts

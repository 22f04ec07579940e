"""Emphasis and links: which delimiters in a text have a partner, so that a reader does not see them. Pure.

CommonMark pairs delimiters with one stack for all kinds. Here each kind has its own stack. A text whose delimiters
overlap ("*a _b* c_") loses all four, where CommonMark keeps two. In return the work is linear for any text.

Source: CommonMark 0.31.2, section 6.2, "Emphasis and strong emphasis".
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from typing import NamedTuple

from worker.moderation.text_views.rules import Edit

ENTITY = re.compile(
    r"&(?:#(?:[xX]0{0,99}[0-9a-fA-F]{1,8}(?![0-9a-fA-F])|0{0,99}[0-9]{1,8}(?![0-9]))|[A-Za-z][A-Za-z0-9]{1,31});?"
)
"""A character reference of HTML. Digits are limited, because Python refuses to convert thousands of them."""


def decoded(text: str) -> str:
    """Return the text with HTML's character references decoded."""
    return ENTITY.sub(lambda found: unescape(found[0]), text) if "&" in text else text


def next_token(token: re.Pattern[str], signs: re.Pattern[str], text: str, start: int) -> re.Match[str] | None:
    """Return the next match of a token, or None.

    It finds what ``token.search`` finds, in half the time: the search for signs skips the many other characters.

    Args:
        token: Alternatives, each of which begins with a sign.
        signs: One character.
        text: The text.
        start: Where to begin.
    """
    while (sign := signs.search(text, start)) is not None:
        start = sign.start()
        if (found := token.match(text, start)) is not None:
            return found
        start += 1
    return None


PIECES_MAX = 20_000
"""Most pieces of one text. What follows stays as it was typed. This bounds the time for a hostile text."""


class Delimiters(NamedTuple):
    """How a platform's delimiters behave.

    Attributes:
        inside_words: Delimiter characters that work inside a word, such as ``k*i*ll``.
        pairs: Delimiter characters that count only as a run of exactly two, such as ``~~``.
    """

    inside_words: frozenset[str]
    pairs: frozenset[str]


class VisibleText:
    """The pieces of a text that a reader sees. Delimiters and brackets stay until their partner comes.

    Each piece takes the place of a part of the text. The parts follow each other without a gap.
    """

    def __init__(self, text: str, delimiters: Delimiters) -> None:
        self._text = text
        self._rules = delimiters
        self._pieces: list[str] = []
        self._ends: list[int] = []
        self._open: dict[str, list[int]] = {}
        self._brackets: list[int] = []

    def has_room(self) -> bool:
        """Return whether the text may have more pieces."""
        return len(self._pieces) < PIECES_MAX

    def add(self, piece: str, end: int) -> None:
        """Add characters that a reader sees in place of the next part of the text, up to ``end``."""
        if piece or end > (self._ends[-1] if self._ends else 0):
            self._pieces.append(piece)
            self._ends.append(end)

    def add_text(self, end: int) -> None:
        """Add the next part of the text, up to ``end``, as it is."""
        self.add(self._text[self._ends[-1] if self._ends else 0 : end], end)

    def end_block(self) -> None:
        """Forget open delimiters and brackets: no pair reaches across the end of a block."""
        self._open.clear()
        self._brackets.clear()

    def add_bracket(self, end: int) -> None:
        """Add an opening bracket, which may begin a link (``[``) or an image (``![``)."""
        self._brackets.append(len(self._pieces))
        self.add_text(end)

    def close_link(self) -> bool:
        """Remove the last open bracket, as the begin of a link. Return whether there is one."""
        if not self._brackets:
            return False
        self._pieces[self._brackets.pop()] = ""
        return True

    def add_run(self, end: int) -> None:
        """Add a run of one delimiter character, up to ``end``."""
        place, start = len(self._pieces), self._ends[-1] if self._ends else 0
        self.add_text(end)
        kind, left = self._text[start], end - start
        before, after = self._text[start - 1 : start], self._text[end : end + 1]
        opens, closes = self._roles(kind, before, after)
        if kind in self._rules.pairs and left != 2:  # noqa: PLR2004 - a pair
            opens = closes = False
        stack = self._open.setdefault(kind, [])
        while closes and left and stack:
            partner = self._pieces[stack[-1]]
            both = min(left, len(partner))
            left -= both
            self._pieces[stack[-1]] = partner[both:]
            if both == len(partner):
                stack.pop()
        self._pieces[place] = kind * left
        if opens and left:
            stack.append(place)

    def edits(self) -> Iterator[Edit]:
        """Give what changes in the text so that it is what a reader sees."""
        start = 0
        for piece, end in zip(self._pieces, self._ends, strict=True):
            if piece != self._text[start:end]:
                yield start, end, piece
            start = end

    def _roles(self, kind: str, before: str, after: str) -> tuple[bool, bool]:
        """Return whether a run can open and can close emphasis."""
        if kind in self._rules.pairs:  # Discord and GitHub pair these wherever they are
            return True, True
        after_blank, before_blank = not after or after.isspace(), not before or before.isspace()
        opens = not after_blank and (before_blank or not _is_sign(after) or _is_sign(before))
        closes = not before_blank and (after_blank or not _is_sign(before) or _is_sign(after))
        if kind not in self._rules.inside_words:
            opens = opens and not before.isalnum()
            closes = closes and not after.isalnum()
        return opens, closes


@lru_cache(maxsize=4096)
def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


class CodeSpans:
    """Where the code spans of a text end: a run of backticks is closed by the next run of the same length."""

    def __init__(self, text: str) -> None:
        self._ends: dict[int, int] = {}
        if "`" not in text:
            return
        following: dict[int, int] = {}
        runs = [(found.start(), found.end()) for found in re.finditer("`+", text)]
        for start, end in reversed(runs):
            self._ends[start] = following.get(end - start, -1)
            following[end - start] = start

    def close_of(self, start: int) -> int:
        """Return where the closing run of the run at ``start`` begins, or -1."""
        return self._ends.get(start, -1)

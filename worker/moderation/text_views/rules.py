"""What a step is made of: rules, which say what changes in a text and where.

A rule is a function from a text to edits. The plain view needs only the new text (``edited``). Evidence of a
flagged text also needs the place that each character came from (``TracedText``). Both read the same edits.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import regex

Edit = tuple[int, int, str]
"""A part of a text, from ``start`` to before ``end``, and what takes its place. A tuple, because a class would take
a third of a microsecond more for each of thousands of edits."""
Rule = Callable[[str], Iterable[Edit]]
"""Gives what changes in a text, from the start of the text to its end, without overlap, in linear time."""
Pattern = re.Pattern[str] | regex.Pattern[str]
Match = re.Match[str] | regex.Match[str]
_Answer = TypeVar("_Answer")
Replace = Callable[[Any], str]
"""What takes the place of a match (a ``Match``). It returns the matched text where nothing is to change."""


def replacing(pattern: Pattern, replace: str | Replace) -> Rule:
    """Return the rule that replaces every match of a pattern.

    Args:
        pattern: What to look for. It takes linear time.
        replace: A string, or a function of the match.
    """
    find = pattern.finditer
    if isinstance(replace, str):

        def removed(text: str) -> Iterator[Edit]:
            return ((match.start(), match.end(), replace) for match in find(text))

        return removed

    def replaced(text: str) -> Iterator[Edit]:
        for match in find(text):
            new = replace(match)
            if new != match[0]:
                yield match.start(), match.end(), new

    return replaced


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with these edits; the same string if there are none."""
    parts: list[str] = []
    place = 0
    for start, end, new in edits:
        parts += (text[place:start], new)
        place = end
    if not parts:
        return text
    parts.append(text[place:])
    return "".join(parts)


def of_head_and_tail(rule: Rule, part_characters: int) -> Rule:
    """Return the rule for the first and the last characters of a long text; the middle stays as it is.

    Args:
        rule: The rule, which sees each of the two parts as a text.
        part_characters: Characters of a part. A text of up to two parts is one text.
    """

    def edits(text: str) -> Iterator[Edit]:
        if len(text) <= 2 * part_characters:
            yield from rule(text)
            return
        yield from rule(text[:part_characters])
        offset = len(text) - part_characters
        for start, end, new in rule(text[offset:]):
            yield offset + start, offset + end, new

    return edits


def remembered(of_piece: Callable[[str], _Answer]) -> Callable[[str], _Answer]:
    """Return a function of a piece of a text that remembers its answers to short pieces."""
    short = lru_cache(maxsize=8192)(of_piece)
    return lambda piece: short(piece) if len(piece) <= _REMEMBERED_MAX else of_piece(piece)


_REMEMBERED_MAX = 80
"""Characters of the longest piece that is remembered: long links do not come back."""


def tokens(found: Pattern, text: str) -> Sequence[tuple[int, int, str]]:
    """Return each token that a pattern is found in, after its start and its end. A token has no white space.

    Args:
        found: What to look for, and all that follows it in the token. A pattern for the whole token takes several
            times as long, because it is tried at each character.
        text: The text.
    """
    tokens_of_text: list[tuple[int, int, str]] = []
    place = 0
    for match in found.finditer(text):
        start, end = match.span()
        before = text[place:start]
        if before and not before[-1].isspace():
            start -= len(before.rsplit(None, 1)[-1])
        place = end
        tokens_of_text += ((start, end, text[start:end]),)
    return tokens_of_text


def begins_sentence(text: str, start: int) -> bool:
    """Return whether a sentence begins at this place: there a letter whose case is hidden was a capital."""
    if start and text[start - 1] not in _AT_BEGIN:
        return False
    before = text[max(0, start - _LOOK_BACK) : start].rstrip(" ").rstrip(_OPENING).rstrip(" ")
    if not before:
        return start < _LOOK_BACK
    return before[-1] in ".!?\n" and not before.endswith(" !")


_OPENING = "\"'([<\u00ab\u2018\u201c"
_AT_BEGIN = frozenset(" .!?\n" + _OPENING)
_LOOK_BACK = 8


@dataclass(frozen=True, slots=True)
class TracedText:
    """A text, and where each of its characters came from in the text as received.

    Attributes:
        text: The text.
        starts: ``[N]`` for each character, the offset where its origin begins.
        ends: ``[N]`` for each character, the offset where its origin ends.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> "TracedText":
        """Return a text as received."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the text as received that a part of this text came from, as start and end.

        The whole text came from the whole text, with everything that was removed.
        """
        if start >= end:
            return (0, 0)
        return min(self.starts[start:end]), max(self.ends[start:end])

    def edited(self, edits: Iterable[Edit]) -> "TracedText":
        """Return the text with these edits; the same object if there are none.

        Each character of a replacement came from the whole part that the replacement is for, except that a
        replacement of the same length is taken character by character.
        """
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        place = 0
        for start, end, new in edits:
            parts += (self.text[place:start], new)
            starts += self.starts[place:start]
            ends += self.ends[place:start]
            if len(new) == end - start:
                starts += self.starts[start:end]
                ends += self.ends[start:end]
            elif start < end:
                begin, after = self.origin(start, end)
                starts += [begin] * len(new)
                ends += [after] * len(new)
            place = end
        if not parts:
            return self
        parts.append(self.text[place:])
        starts += self.starts[place:]
        ends += self.ends[place:]
        return TracedText("".join(parts), starts, ends)

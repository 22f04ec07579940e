"""What a step is made of: patterns, and what takes the place of what they match.

A rule can be applied in two ways. ``Rule.apply`` returns the new text, at the speed of ``sub``. ``Rule.edits`` says
what changes and where; it takes longer, and only a flagged text needs it. Both read the same rule, so they agree.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import regex

Pattern = re.Pattern[str] | regex.Pattern[str]
Match = re.Match[str] | regex.Match[str]
Replace = Callable[[Any], str]
"""What takes the place of a match (a ``Match``). It returns the matched text where nothing is to change."""


def begins_sentence(text: str, start: int) -> bool:
    """Return whether a sentence begins at this place: there a letter whose case is hidden was a capital."""
    before = text[max(0, start - _LOOK_BACK) : start].rstrip(" ").rstrip(_OPENING).rstrip(" ")
    if not before:
        return start < _LOOK_BACK
    return before[-1] in ".!?\n" and not before.endswith(" !")


_OPENING = "\"'([<\u00ab\u2018\u201c"
_LOOK_BACK = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, and what takes the place of each match.

    Attributes:
        pattern: What to look for. Its matches do not overlap, and it takes linear time.
        replace: A string; or a function of the match.
    """

    pattern: Pattern
    replace: str | Replace

    def apply(self, text: str) -> str:
        """Return the text with every match replaced."""
        return self.pattern.sub(self.replace, text)

    def edits(self, text: str) -> "Iterator[Edit]":
        """Give what ``apply`` changes, from the start of the text to its end."""
        for match in self.pattern.finditer(text):
            new = self.replace if isinstance(self.replace, str) else self.replace(match)
            if new != match[0]:
                yield Edit(match.start(), match.end(), new)


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of a text, and what takes its place.

    Attributes:
        start: Offset of the part's first character.
        end: Offset after the part's last character.
        text: What takes its place.
    """

    start: int
    end: int
    text: str


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
        """Return the text with these edits, which are in order and do not overlap.

        Each character of a replacement came from the whole part that the replacement is for, except that a
        replacement of the same length is taken character by character.
        """
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        place = 0
        for edit in edits:
            parts += [self.text[place : edit.start], edit.text]
            starts += self.starts[place : edit.start]
            ends += self.ends[place : edit.start]
            if len(edit.text) == edit.end - edit.start:
                starts += self.starts[edit.start : edit.end]
                ends += self.ends[edit.start : edit.end]
            elif edit.start < edit.end:
                origin = self.origin(edit.start, edit.end)
                starts += [origin[0]] * len(edit.text)
                ends += [origin[1]] * len(edit.text)
            place = edit.end
        parts.append(self.text[place:])
        starts += self.starts[place:]
        ends += self.ends[place:]
        return TracedText("".join(parts), starts, ends)

"""Whether globs match everything that another glob matches, by walking their automata together. Pure."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

STATES_MAX = 2000
"""States of a walk. A glob of a few stars has some dozens."""
ANY = "*"
UNUSUAL = "\ufffc"
"""A character that globs hardly ever name."""


class _Glob(NamedTuple):
    """A glob as parts, each of which matches one character, except ``*``."""

    parts: Sequence[str]

    def start(self) -> frozenset[int]:
        return self._with_skipped_stars({0})

    def after(self, places: frozenset[int], character: str) -> frozenset[int]:
        """Return the places that a character leads to."""
        found = set()
        for place in places:
            if place < len(self.parts):
                part = self.parts[place]
                if part == ANY:
                    found.add(place)
                elif part == character or ((len(part) > 1 or part == "?") and fnmatchcase(character, part)):
                    found.add(place + 1)
        return self._with_skipped_stars(found)

    def accepts(self, places: frozenset[int]) -> bool:
        return len(self.parts) in places

    def _with_skipped_stars(self, places: set[int]) -> frozenset[int]:
        for place in sorted(places):
            skipped = place
            while skipped < len(self.parts) and self.parts[skipped] == ANY:
                skipped += 1
                places.add(skipped)
        return frozenset(places)


@lru_cache(maxsize=100_000)
def covers(globs: tuple[str, ...], glob: str) -> bool:
    """Return whether every string that ``glob`` matches also matches one of ``globs``.

    The answer is False if the walk would take more than ``STATES_MAX`` states.
    """
    if glob in globs or any(not one.strip("*") and one for one in globs):
        return True
    if not any(sign in glob for sign in "*?["):
        return any(fnmatchcase(glob, one) for one in globs)
    inner, outer = _parsed(glob), [_parsed(one) for one in globs]
    characters = _characters([*globs, glob])
    state = inner.start(), tuple(one.start() for one in outer)
    seen, waiting = {state}, [state]
    while waiting:
        places, outer_places = waiting.pop()
        if inner.accepts(places) and not any(map(_Glob.accepts, outer, outer_places)):
            return False
        for character in characters:
            following = inner.after(places, character)
            state = following, tuple(one.after(at, character) for one, at in zip(outer, outer_places, strict=True))
            if following and state not in seen:
                seen.add(state)
                waiting.append(state)
        if len(seen) > STATES_MAX:
            return False
    return True


def matched_string(glob: str) -> str | None:
    """Return a string that a glob matches; ``*`` and ``?`` give an unusual character. None if it matches none."""
    found = []
    for part in _parsed(glob).parts:
        choices = [part] if len(part) == 1 and part not in "*?" else [UNUSUAL, *_characters([part])]
        character = next((one for one in choices if len(part) == 1 or fnmatchcase(one, part)), None)
        if character is None:
            return None
        found.append(character)
    return "".join(found)


def _parsed(glob: str) -> _Glob:
    """Return the parts of a glob, as ``fnmatch.translate`` reads it."""
    parts, place = [], 0
    while place < len(glob):
        end = place + 1
        if glob[place] == "[":
            end = glob.find("]", place + (3 if glob[place + 1 : place + 2] == "!" else 2)) + 1 or place + 1
        parts.append(glob[place:end])
        place = end
    return _Glob(parts)


def _characters(globs: Iterable[str]) -> list[str]:
    """Return a character of each class that these globs can tell apart: each character and its two neighbours."""
    codes = {ord(character) + step for glob in globs for character in glob for step in (-1, 0, 1)}
    return [chr(code) for code in sorted(codes) if 0 < code < 0x110000]  # noqa: PLR2004 - the end of Unicode

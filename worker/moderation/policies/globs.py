"""Find which entries of a policy file match a message, in time that hardly grows with the number of entries. Pure.

A set of entries is an integer with a bit for each entry. For each field, an index says which entries a value
matches: literals and globs of the form ``prefix*`` are looked up by hash, any other glob is tried alone. A message
matches the entries that all its fields match.

Invariant: a glob matches what ``fnmatch.fnmatchcase`` says. A glob takes time in proportion to its length times the
value's: Python translates each ``*`` into an atomic group, which does not backtrack.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

from worker.moderation.policies.policy_file import When

FIELDS = ("topic", "channel_id", "user_id", "tenant_id", "roles", "language", "edited")
"""The fields of a message that ``when`` can ask for, in the order of ``MessageFields``."""
_KEYS = {"roles": "role"}
_SPECIAL = re.compile(r"[*?\[]")


class MessageFields(NamedTuple):
    """What ``when`` sees of a message.

    Attributes:
        topic: The input topic; None for a message that is not from a topic.
        channel_id: The channel's id; None when absent, as for the other ids.
        user_id: The author's id.
        tenant_id: The customer's, community's or server's id.
        roles: The author's roles.
        language: The language that the event names.
        edited: Whether the message is an edit.
    """

    topic: str | None = None
    channel_id: str | None = None
    user_id: str | None = None
    tenant_id: str | None = None
    roles: tuple[str, ...] = ()
    language: str | None = None
    edited: bool = False


class Matcher:
    """Matches messages with the conditions of a list of entries.

    Args:
        conditions: The condition of each entry; None matches every message.
    """

    def __init__(self, conditions: Sequence[When | None]) -> None:
        self._all = (1 << len(conditions)) - 1
        self._indexes: list[tuple[int, int, _GlobIndex]] = []
        self._edited = {True: self._all, False: self._all}
        for position, field in enumerate(FIELDS[:-1]):
            globs = [getattr(when, _KEYS.get(field, field)) if when else () for when in conditions]
            if any(globs):
                free = sum(1 << number for number, given in enumerate(globs) if not given)
                self._indexes.append((position, free, _GlobIndex(globs)))
        for number, when in enumerate(conditions):
            if when is not None and when.edited is not None:
                self._edited[not when.edited] &= ~(1 << number)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that decide which entries match."""
        named = frozenset(FIELDS[position] for position, _, _ in self._indexes)
        return named | ({"edited"} if self._edited[True] != self._edited[False] else set())

    def matches(self, message: MessageFields) -> int:
        """Return the set of the entries that match a message: bit 0 is the first entry."""
        found = self._edited[message.edited]
        for position, free, index in self._indexes:
            if not found:
                break
            value, matched = message[position], free
            if isinstance(value, str):
                matched |= index.matches(value)
            elif isinstance(value, tuple):
                for one in value:
                    matched |= index.matches(one)
            found &= matched
        return found


def first(entries: int) -> int | None:
    """Return the number of the first entry of a set; None if the set is empty."""
    return (entries & -entries).bit_length() - 1 if entries else None


def members(entries: int) -> Iterator[int]:
    """Yield the number of each entry of a set, in order."""
    while entries:
        number = (entries & -entries).bit_length() - 1
        yield number
        entries &= entries - 1


class _GlobIndex:
    """Finds the entries that have a glob which a value matches."""

    def __init__(self, globs: Sequence[Sequence[str]]) -> None:
        literals: defaultdict[str, int] = defaultdict(int)
        prefixes: defaultdict[str, int] = defaultdict(int)
        others: defaultdict[str, int] = defaultdict(int)
        for number, given in enumerate(globs):
            for glob in given:
                if not _SPECIAL.search(glob):
                    literals[glob] |= 1 << number
                elif glob.endswith("*") and not _SPECIAL.search(glob[:-1]):
                    prefixes[glob[:-1]] |= 1 << number
                else:
                    others[glob] |= 1 << number
        self._literals, self._prefixes = dict(literals), dict(prefixes)
        self._lengths = sorted({len(prefix) for prefix in prefixes})
        self._others = [(re.compile(translate(glob)).match, entries) for glob, entries in others.items()]

    def matches(self, value: str) -> int:
        found = self._literals.get(value, 0)
        for length in self._lengths:
            if length > len(value):
                break
            found |= self._prefixes.get(value[:length], 0)
        for match, entries in self._others:
            if match(value):
                found |= entries
        return found

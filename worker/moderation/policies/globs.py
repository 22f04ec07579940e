"""Find which entries of a policy file match a message, in time that hardly grows with the number of entries. Pure.

A set of entries is an integer with a bit for each entry. For each field, an index says which entries a value
matches: literals and globs of the form ``prefix*`` are looked up by hash. All other globs are compared with a value
one by one, and the answers are remembered. A message matches the entries that all its fields match.

Invariant: a glob matches what ``fnmatch.fnmatchcase`` says. A glob takes time in proportion to its length times the
value's: Python translates each ``*`` into an atomic group, which does not backtrack.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import reduce
from itertools import repeat
from operator import and_, or_
from typing import Any, NamedTuple

from worker.moderation.policies.policy_file import When

FIELDS = ("topic", "channel_id", "user_id", "tenant_id", "roles", "language", "edited")
"""The fields of a message that ``when`` can ask for, in the order of ``MessageFields``."""
REMEMBERED_MAX = 240_000
"""Values that the indexes of a matcher remember together: 35 MB with ids of 36 ASCII characters."""
LENGTHS_MAX = 3
"""Different lengths of ``prefix`` in the globs ``prefix*`` that are looked up each time. To remember a value takes
about as long."""
SETS_MAX = 16_384
"""Different sets of entries that an index keeps, to give equal sets one object."""
REMEMBERED_CHARACTERS_MAX = 64
"""Longest value that is remembered, in characters. It bounds the memory: 110 MB if every id has 64 emoji."""
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


class EntrySet:
    """Entries that match a value of a field.

    Its hash is its identity. A set of a thousand entries is a long number, and its hash would take long.

    Attributes:
        entries: The entries, a bit for each.
        answer: What the user of a matcher of one field has worked out for these entries; None: nothing yet.
    """

    __slots__ = ("answer", "entries")

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.answer: Any = None


MatchKey = Hashable
"""What the fields of a message match. Messages with equal keys match the same entries."""


class Matcher:
    """Matches messages with the conditions of a list of entries. One thread uses it.

    Args:
        conditions: The condition of each entry; None matches every message.
        remembered_max: Values to remember, of all fields together; at least 2 for each field.
        alternatives: Sets of entries. Only the first entry of a set that matches counts. The matcher may leave out
            the later ones. So messages with the same first entry often have the same key.

    Attributes:
        is_of_one_field: Whether one field with globs decides. Then the key of a message is the ``EntrySet`` of this
            field. A tuple would be one more object to look at.
    """

    def __init__(
        self,
        conditions: Sequence[When | None],
        remembered_max: int = REMEMBERED_MAX,
        alternatives: Sequence[int] = (),
    ) -> None:
        everything = (1 << len(conditions)) - 1
        self._edited = {True: everything, False: everything}
        for number, when in enumerate(conditions):
            if when is not None and when.edited is not None:
                self._edited[not when.edited] &= ~(1 << number)
        globs = {
            field: [getattr(when, _KEYS.get(field, field)) if when else () for when in conditions]
            for field in FIELDS[:-1]
        }
        free = {field: _set_of(not given for given in of_entries) for field, of_entries in globs.items()}
        self._indexes: list[tuple[int, int, _GlobIndex]] = []
        for position, field in enumerate(FIELDS[:-1]):
            if free[field] != everything:
                others = [*self._edited.values(), *(free[other] for other in free if other != field)]
                sure = [reduce(and_, others, entries) for entries in alternatives]
                index = _GlobIndex(globs[field], [*zip(alternatives, sure, strict=True)])
                self._indexes.append((position, free[field], index))
        remembering = [index for _, _, index in self._indexes if index.is_remembering]
        for index in remembering:
            index.remembered_max = remembered_max // len(remembering)
        self.is_of_one_field = len(self.fields) == len(self._indexes) == 1

    @property
    def fields(self) -> frozenset[str]:
        """The fields that decide which entries match."""
        named = frozenset(FIELDS[position] for position, _, _ in self._indexes)
        return named | ({"edited"} if self._edited[True] != self._edited[False] else set())

    @property
    def remembered(self) -> int:
        """Number of values in memory."""
        return sum(index.remembered for _, _, index in self._indexes)

    def matches(self, message: MessageFields) -> int:
        """Return the set of the entries that match a message: bit 0 is the first entry."""
        found = self._edited[message.edited]
        for position, free, index in self._indexes:
            if not found:
                break
            value: Any = message[position]
            found &= free | index.find(value).entries
        return found

    def keys(self, columns: Mapping[str, Sequence[Any]], count: int) -> Iterable[MatchKey]:
        """Return what the fields of each message match.

        Args:
            columns: The values of each field, one for each message. A field without a column is absent from all
                messages, or false.
            count: Number of messages.
        """
        found: list[Iterable[MatchKey]] = []
        for position, _, index in self._indexes:
            values = columns.get(FIELDS[position])
            found.append(repeat(index.nothing, count) if values is None else index.find_each(values))
        if self.is_of_one_field:
            return found[0]
        return zip(columns.get("edited", repeat(False, count)), *found, strict=True)  # noqa: FBT003 - a value

    def entries_of(self, key: Any) -> int:
        """Return the set of the entries that match the messages with this key."""
        edited, *matched = (False, key) if self.is_of_one_field else key
        found = self._edited[edited]
        for (_, free, _), entries in zip(self._indexes, matched, strict=True):
            found &= free | entries.entries
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


def _set_of(are_members: Iterable[bool]) -> int:
    return sum(1 << number for number, is_member in enumerate(are_members) if is_member)


class _GlobIndex:
    """Finds the entries that have a glob which a value matches.

    The index works out in advance what each literal and each ``prefix`` of a glob matches. So a value that an entry
    names takes one look-up. Any other value matches what the longest ``prefix`` matches that it begins with.

    An index with many lengths of prefixes, or with other globs, remembers its answers. The memory is in two halves.
    When the younger half is full, it becomes the older one, and the older one is dropped. What is found in the
    older half moves to the younger one.

    Args:
        globs: The globs of each entry.
        alternatives: Sets of entries of which only the first that matches counts. Each comes with those of its
            entries that match whatever the other fields are.

    Attributes:
        nothing: What an absent value matches, and most values.
        is_remembering: Whether a value can take so many look-ups that it is worth while to remember it.
        remembered_max: Number of values to remember.
    """

    def __init__(self, globs: Sequence[Sequence[str]], alternatives: Sequence[tuple[int, int]] = ()) -> None:
        literals, prefixes, others = _by_kind(globs)
        self.remembered_max = 0
        self._young: dict[str, EntrySet] = {}
        self._old: dict[str, EntrySet] = {}
        self._alternatives = alternatives
        self.nothing = EntrySet(0)
        self._sets = {0: self.nothing}
        self._lengths = sorted({len(prefix) for prefix in prefixes}, reverse=True)
        self._prefixes: dict[str, EntrySet] = {}
        for prefix in sorted(prefixes, key=len):  # it has the entries of the shorter ones that it begins with
            self._prefixes[prefix] = self._set(prefixes[prefix] | self._of_beginning(prefix).entries)
        named = {one: self._set(entries | self._of_beginning(one).entries) for one, entries in literals.items()}
        self._named = {**self._prefixes, **named}
        self._others = [(re.compile(translate(glob)).match, entries) for glob, entries in others.items()]
        # Most values begin as no glob does.
        self._shortest = self._lengths[-1] if prefixes else 0
        self._beginnings = frozenset(prefix[: self._shortest] for prefix in prefixes)
        self.is_remembering = bool(others) or len(self._lengths) > LENGTHS_MAX

    @property
    def remembered(self) -> int:
        """Number of values in memory."""
        return len(self._young) + len(self._old)

    def find(self, value: str | Sequence[str] | None) -> EntrySet:
        """Return the entries that a value matches, or one of several values. None matches no entry."""
        if type(value) is str:
            return self.find_each([value])[0]
        return self._set(reduce(or_, [self.find(one).entries for one in value or ()], 0))

    def find_each(self, values: Sequence[Any]) -> Sequence[EntrySet]:
        """Return the entries that each value matches. The values are those that ``find`` takes."""
        if set(map(type, values)) != {str}:
            return [*map(self.find, values)]
        known, remember = self._young.get, self._remember
        if self._others:
            return [known(value) or remember(value) for value in values]
        search = self._recall if self.is_remembering else self._of_beginning
        found: list[Any] = [*map(self._named.get, values)]  # an ``EntrySet``, or None
        if all(found):
            return found
        nothing, shortest, beginnings = self.nothing, self._shortest, self._beginnings
        return [
            one or (search(value) if value[:shortest] in beginnings else nothing)
            for one, value in zip(found, values, strict=True)
        ]

    def _recall(self, value: str) -> EntrySet:
        return self._young.get(value) or self._remember(value)

    def _remember(self, value: str) -> EntrySet:
        if (found := self._old.get(value)) is None:
            found = self._matches(value)
        if len(value) <= REMEMBERED_CHARACTERS_MAX:
            if len(self._young) >= self.remembered_max // 2:
                self._old, self._young = self._young, {}
            self._young[value] = found
        return found

    def _matches(self, value: str) -> EntrySet:
        found = self._named.get(value) or self._of_beginning(value)
        matched = [entries for match, entries in self._others if match(value)]
        return self._set(reduce(or_, matched, found.entries)) if matched else found

    def _of_beginning(self, value: str) -> EntrySet:
        """Return the entries with a ``prefix*`` that a value matches."""
        for length in self._lengths:
            if (found := self._prefixes.get(value[:length])) is not None:
                return found
        return self.nothing

    def _set(self, entries: int) -> EntrySet:
        """Return the object of a set, without the entries that cannot count."""
        if (found := self._sets.get(entries)) is None:
            if len(self._sets) >= SETS_MAX:
                self._sets = {0: self.nothing}
            counting = self._counting(entries)
            found = self._sets[entries] = self._sets[counting] = self._sets.get(counting) or EntrySet(counting)
        return found

    def _counting(self, entries: int) -> int:
        """Return a set without the alternatives that follow one that matches whatever the other fields are."""
        for alternatives, sure in self._alternatives:
            if certain := entries & sure:
                entries &= ~alternatives | ((certain & -certain) << 1) - 1
        return entries


def _by_kind(globs: Sequence[Sequence[str]]) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Return the entries of each literal, of each ``prefix`` of a glob ``prefix*``, and of each other glob."""
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
    return literals, prefixes, others

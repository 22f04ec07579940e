"""Find the values at many places in one walk: places with the same beginning share it. Pure.

A shape names many places that most events do not have, such as the parts of an embed. A walk for each place would
look up the same absent name again and again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.chat import parse_pointer
from worker.moderation.shapes.finding import EVERY, INDEX, children


@dataclass(slots=True)
class PlaceTree:
    """A token of some places, and what follows this token.

    Attributes:
        numbers: Numbers of the places that end here.
        named: The tokens that follow, each with its tree.
        every: The tree that follows ``*``; None if there is none.
    """

    numbers: list[int] = field(default_factory=list)
    named: dict[str, "PlaceTree"] = field(default_factory=dict)
    every: "PlaceTree | None" = None

    @classmethod
    def of(cls, places: Sequence[str]) -> "PlaceTree":
        """Return the tree of places, which are numbered from 0."""
        root = cls()
        for number, place in enumerate(places):
            node = root
            for token in parse_pointer(place):
                if token != EVERY:
                    node = node.named.setdefault(token, cls())
                else:
                    node.every = node.every or cls()
                    node = node.every
            node.numbers.append(number)
        return root

    def find(self, event: Any) -> Mapping[int, Sequence[Any]]:
        """Return for each place that has values its number and these values; none of them is null."""
        found: dict[int, list[Any]] = {}
        _collect(event, self, found)
        return found


def _collect(value: Any, node: PlaceTree, found: dict[int, list[Any]]) -> None:
    for number in node.numbers:
        found.setdefault(number, []).append(value)
    if node.named:
        is_object = type(value) is dict
        for token, following in node.named.items():
            inner = value.get(token) if is_object else _element(value, token)
            # Most events have nothing, or an empty array, at most places.
            if inner or (inner is not None and following.numbers):
                _collect(inner, following, found)
    if node.every is not None and value:
        for inner in children(value):
            if inner is not None:
                _collect(inner, node.every, found)


def _element(value: Any, token: str) -> Any:
    """Return the element of an array that a token names; None for any other value."""
    is_there = type(value) is list and INDEX.fullmatch(token) and int(token) < len(value)
    return value[int(token)] if is_there else None

"""Parse the strings of an event that themselves hold JSON, in place. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.chat import Pointer, Undecodable, parse_pointer, read_json, written
from worker.moderation.shapes.finding import EVERY, find_all

Parse = Callable[[Any], Undecodable | None]
"""Replaces the strings of an event by their JSON. Returns the first refusal, because the record may be skipped."""


def parser(places: Sequence[str]) -> Parse:
    """Return the function that parses the strings at these places, in order. A place without a string stays.

    At a place with ``*``, a string that is not JSON stays too, because the others may be JSON.
    """
    parsers = [_at(parse_pointer(place)) for place in places]

    def parse(event: Any) -> Undecodable | None:
        refusals = [refusal for one in parsers if (refusal := one(event)) is not None]
        return refusals[0] if refusals else None

    return parse


def _at(pointer: Pointer) -> Parse:
    *above, name = pointer
    find = find_all(written(tuple(above))) if above else (lambda event, _: (event,))
    what = f"The value at {written(pointer)}"

    def parse(event: Any) -> Undecodable | None:
        refused = None
        for holder in find(event, ()):
            for place in _places(holder, name):
                if type(holder[place]) is not str:
                    continue
                try:
                    holder[place] = read_json(holder[place], what)
                except Undecodable as error:
                    if EVERY not in pointer:
                        refused = refused or Undecodable(error.reason, error.message)
        return refused

    return parse


def _places(holder: Any, name: str) -> Sequence[Any]:
    """Return the keys or indexes of an object or an array that a token names."""
    if type(holder) is dict:
        return [*holder] if name == EVERY else [name] if name in holder else []
    if type(holder) is list:
        if name == EVERY:
            return range(len(holder))
        return [int(name)] if name.isascii() and name.isdigit() and int(name[:10]) < len(holder) else []
    return []

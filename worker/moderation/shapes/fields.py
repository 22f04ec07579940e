"""Compile the single fields of a message other than its text. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.chat import parse_pointer, written
from worker.moderation.shapes.finding import EVERY, accepts, find_all, find_one
from worker.moderation.shapes.shape_file import HEADER, RoleRule, WhereRule
from worker.records import Headers


class Unreadable(Exception):  # noqa: N818 - it describes the field, it is not an error of the program
    """A field other than the text has a type that cannot be read."""


ReadField = Callable[[Any, Headers], Any]
"""Returns a field of an event; None when it is absent. Raises ``Unreadable``."""


def identity_of(found: Any) -> str | None:
    """Return the id or word that a value is; None stays None."""
    if found is None or type(found) is str:
        return found
    if type(found) is int and is_of_64_bits(found):  # not a boolean
        return str(found)
    raise Unreadable


def is_of_64_bits(found: int) -> bool:
    """Return whether an integer is one of those that orjson reads; orjson turns all others into floats."""
    return -(2**63) <= found < 2**64


def instant_of(found: Any) -> str | int | float | None:
    """Return the time that a value is; None stays None."""
    if found is None or type(found) is str or (type(found) is int and is_of_64_bits(found)):
        return found
    # orjson turned an integer beyond 64 bits into a float, which is not the number that was sent.
    if type(found) is float and -(2.0**63) < found < 2.0**64:
        return found
    if type(found) is dict and "$date" in found:
        return _instant_of_mongodb(found["$date"])
    raise Unreadable


def _instant_of_mongodb(found: Any) -> str | int:
    """Return a date of MongoDB's Extended JSON: milliseconds, a string, or ``{"$numberLong": "1769851800000"}``."""
    if type(found) is dict:
        found = found.get("$numberLong")
    if type(found) is str or (type(found) is int and is_of_64_bits(found)):
        return found
    raise Unreadable


def identity(places: Sequence[str]) -> ReadField:
    """Return the function that reads an id or a word: the first place that has one.

    An empty string is passed over where there are several places: it says that the event has no such id.
    """
    return _first(places, identity_of)


def instant(places: Sequence[str]) -> ReadField:
    """Return the function that reads a time: the first place that has one."""
    return _first(places, instant_of)


def _first(places: Sequence[str], of: Callable[[Any], Any]) -> ReadField:
    if not places:
        return lambda _event, _headers: None
    if len(places) == 1:
        find = find_one(places[0]) if "*" not in places[0] else _head(places[0])

        def read_one(event: Any, headers: Headers) -> Any:
            found = find(event, headers)
            return found if type(found) is str else of(found)

        return read_one
    finds = [find_all(place) for place in places]

    def read(event: Any, headers: Headers) -> Any:
        is_unreadable = False
        for find in finds:
            for found in find(event, headers):
                if found == "":
                    continue
                try:
                    return of(found)
                except Unreadable:
                    is_unreadable = True
        if is_unreadable:
            raise Unreadable
        return None

    return read


def _head(place: str) -> ReadField:
    find = find_all(place)
    return lambda event, headers: next(iter(find(event, headers)), None)


def roles(given: Sequence[str | RoleRule]) -> ReadField:
    """Return the function that reads the author's roles, each once."""
    readers: list[tuple[Callable[[Any, Headers], Any], tuple[str, ...]]] = [
        (accepts(one), (one.role,)) if isinstance(one, RoleRule) else (_listed_roles(one), ()) for one in given
    ]

    def read(event: Any, headers: Headers) -> tuple[str, ...]:
        found: list[str] = []
        for reader, role in readers:
            if given_or_met := reader(event, headers):
                found += role or given_or_met
        return each_once(found)

    return read


def each_once(roles: Sequence[str]) -> tuple[str, ...]:
    """Return roles without those that come again."""
    are_different = len(roles) < 2 or len(roles) == len(set(roles))  # noqa: PLR2004 - one role, or none
    return tuple(roles if are_different else dict.fromkeys(roles))


def _listed_roles(place: str) -> ReadField:
    find = find_all(place)
    *above, last = ("",) if place.startswith(HEADER) else parse_pointer(place)
    if not above or EVERY in above or last != EVERY:
        return lambda event, headers: [identity_of(found) for found in find(event, headers)]
    find_list = find_one(written(tuple(above)))

    def read(event: Any, headers: Headers) -> Sequence[str | None]:
        found = find_list(event, headers)
        if type(found) is list:
            try:
                "".join(found)  # refuses anything but strings, in a quarter of the time of a look at each type
            except TypeError:
                pass
            else:
                return found
        return [identity_of(one) for one in find(event, headers)]

    return read


def edited(given: Sequence[str | WhereRule]) -> Callable[[Any, Headers], bool]:
    """Return the function that tells whether an event is an edit."""
    rules = [accepts(one) if isinstance(one, WhereRule) else _is_set(one) for one in given]
    if len(rules) == 1:
        return rules[0]
    return lambda event, headers: any(rule(event, headers) for rule in rules)


def _is_set(place: str) -> Callable[[Any, Headers], bool]:
    if "*" not in place:
        find_single = find_one(place)

        def is_set(event: Any, headers: Headers) -> bool:
            found = find_single(event, headers)
            return found is not None and found is not False

        return is_set
    find = find_all(place)
    return lambda event, headers: any(found is not False for found in find(event, headers))

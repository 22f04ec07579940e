"""Compile the fields of a message other than its text: none of them costs a message its verdict. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.chat import MessageContext
from worker.moderation.shapes.finding import accepts, find_all, find_one, only_name
from worker.moderation.shapes.shape_file import RoleRule, Shape, WhereRule
from worker.records import Headers


class Unreadable(Exception):  # noqa: N818 - it describes the field, it is not an error of the program
    """A field other than the text has a type that cannot be read."""


ReadField = Callable[[Any, Headers], Any]
"""Returns a field of an event; None when it is absent. Raises ``Unreadable``."""


def _identity(found: Any) -> str | None:
    if found is None or type(found) is str:
        return found
    if type(found) is int:  # not a boolean; orjson turns integers beyond 64 bits into floats
        return str(found)
    raise Unreadable


def _instant(found: Any) -> str | int | float | None:
    if found is None or type(found) is str or type(found) is int:
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
    if type(found) is str or type(found) is int:
        return found
    raise Unreadable


def identity(places: Sequence[str]) -> ReadField:
    """Return the function that reads an id or a word: the first place that has one.

    An empty string is passed over where there are several places: it says that the event has no such id.
    """
    if len(places) != 1 or "*" in places[0]:
        return _first(places, _identity)
    find, name = find_one(places[0]), only_name(places[0])
    if name is not None:
        # The fields of most events are at the top. A call less for each takes a tenth of the time of reading.
        def read_at_top(event: Any, _: Headers) -> str | None:
            found = event.get(name)
            return found if type(found) is str else _identity(found)

        return read_at_top

    def read(event: Any, headers: Headers) -> str | None:
        found = find(event, headers)
        return found if type(found) is str else _identity(found)

    return read


def instant(places: Sequence[str]) -> ReadField:
    """Return the function that reads a time: the first place that has one."""
    return _first(places, _instant)


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
    readers = [_role(one) if isinstance(one, RoleRule) else _listed_roles(one) for one in given]

    def read(event: Any, headers: Headers) -> tuple[str, ...]:
        found: list[str] = []
        for reader in readers:
            found += reader(event, headers)
        return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)

    return read


def _role(rule: RoleRule) -> ReadField:
    is_met, role = accepts(rule), (rule.role,)
    return lambda event, headers: role if is_met(event, headers) else ()


def _listed_roles(place: str) -> ReadField:
    find = find_all(place)
    return lambda event, headers: [_identity(found) for found in find(event, headers)]


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


def context(shape: Shape) -> ReadField | None:
    """Return the function that reads the context; None when the shape reads none of its fields."""
    if not (shape.tenant_id or shape.roles or shape.language or shape.edited):
        return None
    read_tenant, read_language = identity(shape.tenant_id), identity(shape.language)
    read_roles, read_edited = roles(shape.roles), edited(shape.edited)

    def read(event: Any, headers: Headers) -> MessageContext | None:
        found = MessageContext(
            read_tenant(event, headers),
            read_roles(event, headers),
            read_language(event, headers),
            read_edited(event, headers),
        )
        return None if found == _NOTHING else found

    return read


_NOTHING = MessageContext()

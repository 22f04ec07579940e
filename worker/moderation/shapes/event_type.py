"""Make the type of an event for a typed JSON parser: it has only the places that a shape reads. Pure.

msgspec makes the values of these places. It checks the rest of the event, but makes nothing of it. It refuses an
event whose values have other types than the event type says.
"""

import re
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any

from msgspec import Meta, Struct, defstruct

from schemas.chat import Pointer, parse_pointer
from worker.moderation.shapes.finding import INDEX
from worker.moderation.shapes.place_tree import PlaceTree

NOTHING = Annotated[str, Meta(max_length=0)] | None
"""The type of a place that has null or an empty string."""

_NONE = "none"
"""An attribute of every object of an event. It is None."""
_PLAIN_NAME = re.compile(r"[ !#-\[\]-~]+")
"""Names in ASCII that JSON writes without escapes. msgspec takes no others, and invalid UTF-8 never equals one."""


class Unfit(Exception):  # noqa: N818 - it describes the shape, it is not an error of the program
    """A shape reads something that the typed parser cannot read."""


class EventType:
    """The type of an event. An absent value is None, and an absent object has only absent values.

    Args:
        types: The type of the value at each place, which is a JSON Pointer.

    Attributes:
        struct: The type for msgspec.

    Raises:
        Unfit: msgspec has no such type.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._tree = PlaceTree.of([*types])
        self.struct = _object(self._tree, [*types.values()])

    def attribute(self, place: str | None, *, above: Pointer = ()) -> str:
        """Return the dotted name of the attribute that has the value at a place.

        Args:
            place: The place; None for an attribute that is None.
            above: The object whose attribute it is.
        """
        if place is None:
            return _NONE
        names, node = [], self._tree
        for token in parse_pointer(place):
            names.append(_name([*node.named].index(token)))
            node = node.named[token]
        return ".".join(names[len(above) :])


def _object(node: PlaceTree, types: Sequence[Any]) -> type[Struct]:
    # A token such as ``0`` can be an index. Then the place is in an array, and not in an object.
    if node.every is not None or any(INDEX.fullmatch(one) or not _PLAIN_NAME.fullmatch(one) for one in node.named):
        raise Unfit
    names = {_name(number): token for number, token in enumerate(node.named)}
    return defstruct(
        "Object",
        [(name, *_type(node.named[token], types)) for name, token in names.items()],
        rename=names,
        namespace={_NONE: None},
        frozen=True,  # all events share the objects that are absent
        gc=False,
    )


def _type(node: PlaceTree, types: Sequence[Any]) -> tuple[Any, Any]:
    """Return the type of what is at a place, or on the way to a place, and what it is when it is absent."""
    if bool(node.numbers) + bool(node.named) + (node.every is not None) > 1:
        raise Unfit  # it can be an object, and also something else
    if node.numbers:
        [number] = node.numbers
        return types[number], None
    if node.every is not None:
        element, _ = _type(node.every, types)
        return GenericAlias(list, element) | None, None
    found = _object(node, types)
    return found | None, found()


def _name(number: int) -> str:
    return f"at_{number}"

"""Compile the text of a message: several places, without the quotes of others. Pure.

The text keeps its markup: the view of the text that a reader sees is made later.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.chat import Undecodable, is_nothing, kind, parse_pointer
from worker.moderation.markup import WITHOUT_QUOTES, slack_blocks
from worker.moderation.shapes.finding import EVERY, accepts, find_one, only_name
from worker.moderation.shapes.place_tree import PlaceTree
from worker.moderation.shapes.shape_file import Shape, Text, TextPlace
from worker.moderation.shapes.skipping import absence


class FoundText(NamedTuple):
    """The text of a message.

    Attributes:
        text: The text.
        is_partial: Whether one of the places holds something that is not a string.
    """

    text: str
    is_partial: bool


ReadText = Callable[[Any], FoundText | str]
"""Returns the text of an event; a string if every place could be read. Raises ``Undecodable``."""
Join = Callable[[Sequence[str]], str]
"""Joins the parts of a text."""


def text(shape: Shape) -> ReadText:
    """Return the function that reads the text."""
    several, own_words = _several(shape), own_words_of(shape)
    first, *further = shape.text
    if not isinstance(first, str) or "*" in first:
        return several
    if further or own_words is not None:
        others = _beginnings_of_objects(_places(shape)[1:])
        name = only_name(first)
        return several if name is None or others is None else _at_first_name(name, others, own_words, several)
    find, name = find_one(first), only_name(first)
    if name is not None:

        def at_top(event: Any) -> FoundText | str:
            found = event.get(name)
            return found if type(found) is str else several(event)

        return at_top

    def single(event: Any) -> FoundText | str:
        found = find(event, ())
        return found if type(found) is str else several(event)

    return single


def _at_first_name(
    name: str, others: Sequence[str], own_words: Callable[[str], str] | None, several: ReadText
) -> ReadText:
    """Return the function for a text that most events have at one name, and nothing at all other places.

    Args:
        name: The name at the top of an event.
        others: Names at the top under which all other places are.
        own_words: Returns a text without quotes; None if that is the text itself.
        several: What reads all other events.
    """

    def read(event: Any) -> FoundText | str:
        found = event.get(name)
        if type(found) is not str or not found or any(map(event.get, others)):
            return several(event)
        return found if own_words is None else own_words(found)

    return read


def _beginnings_of_objects(places: Sequence[str]) -> Sequence[str] | None:
    """Return the names at the top under which places are; None if one of the places is at the top itself.

    Under null, an empty object, an empty array or an empty string nothing can be.
    """
    pointers = [parse_pointer(place) for place in places]
    if any(len(pointer) == 1 or pointer[0] == EVERY for pointer in pointers):
        return None
    return tuple(dict.fromkeys(first for first, *_ in pointers))


def _several(shape: Shape) -> ReadText:
    gather, join = _gatherer(shape), joiner(shape)
    absent = absence("text", _places(shape))
    none_is_wrong = shape.no_text == "dead_letter"

    def read(event: Any) -> FoundText | str:
        strings, wrong = gather(event)
        parts = [string for string in strings if string]
        if parts:
            return FoundText(join(parts), is_partial=True) if wrong else join(parts)
        if wrong:
            raise Undecodable("wrong_type", wrong)
        if not strings and none_is_wrong:
            raise Undecodable("no_text", absent)
        return ""

    return read


def alternatives(given: Text) -> Sequence[str | TextPlace]:
    """Return the places of an entry, of which only the first that has characters is read."""
    return [given] if isinstance(given, str | TextPlace) else given


def _places(shape: Shape) -> list[str]:
    """Return every place of the text, in order."""
    return [one if isinstance(one, str) else one.at for entry in shape.text for one in alternatives(entry)]


_Strings = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""Returns what a place gives: of the event, and the values at the place."""
_PlaceOfText = tuple[int, str, _Strings | None]
"""The number of a place, the place, and how to read it if it is not just a string."""


def _gatherer(shape: Shape) -> Callable[[Any], tuple[Sequence[str], str]]:
    """Return the function that finds the strings of a text, and says what is wrong with the first other value."""
    places = _places(shape)
    tree, numbers = PlaceTree.of(places), iter(range(len(places)))
    entries: list[list[_PlaceOfText]] = [
        [(next(numbers), _pointer(one), _special(one)) for one in alternatives(entry)] for entry in shape.text
    ]
    choose = _chooser(entries, is_first_only=shape.first_text)
    strings_at = frozenset(number for entry in entries for number, _, special in entry if special is None)

    def gather(event: Any) -> tuple[Sequence[str], str]:
        at = tree.find(event)
        if len(at) == 1:  # most messages have their text at one place
            [(number, values)] = at.items()
            if number in strings_at and len(values) == 1 and type(values[0]) is str:
                return values, ""
        return choose(event, at)

    return gather


def _chooser(
    entries: Sequence[Sequence[_PlaceOfText]], *, is_first_only: bool
) -> Callable[[Any, Mapping[int, Sequence[Any]]], tuple[Sequence[str], str]]:
    """Return the function that chooses the strings of a text from the values at all places."""

    def choose(event: Any, at: Mapping[int, Sequence[Any]]) -> tuple[Sequence[str], str]:
        strings: list[str] = []
        wrong = ""
        for entry in entries if at else ():
            before = len(strings)
            for number, place, special in entry:
                if (values := at.get(number)) is None:
                    continue
                for found in values if special is None else special(event, values):
                    if type(found) is str:
                        strings.append(found)
                    elif not is_nothing(found) and not wrong:
                        wrong = f"The value at {place} is {kind(found)}, not a string."
                if any(strings[before:]):
                    break
            if is_first_only and any(strings):
                break
        return strings, wrong

    return choose


def _pointer(place: str | TextPlace) -> str:
    return place if isinstance(place, str) else place.at


def _special(place: str | TextPlace) -> _Strings | None:
    """Return the function that reads a place with conditions or a format; None for any other."""
    if isinstance(place, str):
        return None
    rules = [accepts(rule) for rule in place.when]
    show = slack_blocks.text_of if place.format else None

    def read(event: Any, values: Sequence[Any]) -> Sequence[Any]:
        if not all(is_met(event, ()) for is_met in rules):
            return ()
        return values if show is None else [show(one) for one in values]

    return read


def joiner(shape: Shape) -> Join:
    """Return the function that joins the parts of a text, without quotes.

    A message that is nothing but a quote keeps the quote: somebody sent these words.
    """
    without_quotes, own_words = _without_quotes(shape), own_words_of(shape)
    if without_quotes is None or own_words is None:
        return _joined

    def join_own(parts: Sequence[str]) -> str:
        if len(parts) == 1:
            return own_words(parts[0])
        own = [without_quotes(part) for part in parts]
        own = [part for part in own if part]
        return _joined(own if any(part.strip() for part in own) else parts)

    return join_own


def _without_quotes(shape: Shape) -> Callable[[str], str] | None:
    return WITHOUT_QUOTES[shape.markup] if shape.quotes == "drop" else None


def own_words_of(shape: Shape) -> Callable[[str], str] | None:
    """Return the function that removes the quotes of a text of one part; None if quotes stay."""
    if (without_quotes := _without_quotes(shape)) is None:
        return None

    def own_words(text: str) -> str:
        own = without_quotes(text)
        return own if own is text or own.strip() else text

    return own_words


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "\n".join(parts)

"""Compile the text of a message: several places, without the quotes of others. Pure.

The text keeps its markup: the view of the text that a reader sees is made later.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.chat import Undecodable, is_nothing, kind
from worker.moderation.markup import WITHOUT_QUOTES
from worker.moderation.shapes.finding import FindAll, find_all, find_one, only_name
from worker.moderation.shapes.shape_file import Shape


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
    several = _several([(place, find_all(place)) for place in shape.text], shape, joiner(shape))
    if len(shape.text) > 1 or "*" in shape.text[0] or joiner(shape) is not _joined:
        return several
    find, name = find_one(shape.text[0]), only_name(shape.text[0])
    if name is not None:

        def at_top(event: Any) -> FoundText | str:
            found = event.get(name)
            return found if type(found) is str else several(event)

        return at_top

    def single(event: Any) -> FoundText | str:
        found = find(event, ())
        return found if type(found) is str else several(event)

    return single


def _several(finds: Sequence[tuple[str, FindAll]], shape: Shape, join: Join) -> ReadText:
    absent = f"There is no text at {' or '.join(place for place, _ in finds)}."
    gather = _gatherer(finds, first_only=shape.first_text)

    def read(event: Any) -> FoundText | str:
        strings, wrong = gather(event)
        parts = [string for string in strings if string]
        if parts:
            return FoundText(join(parts), is_partial=True) if wrong else join(parts)
        if wrong:
            raise Undecodable("wrong_type", wrong)
        if not strings and shape.no_text == "dead_letter":
            raise Undecodable("no_text", absent)
        return ""

    return read


def _gatherer(
    finds: Sequence[tuple[str, FindAll]], *, first_only: bool
) -> Callable[[Any], tuple[Sequence[str], str]]:
    """Return the function that finds the strings of a text, and says what is wrong with the first other value."""

    def gather(event: Any) -> tuple[Sequence[str], str]:
        strings: list[str] = []
        wrong = ""
        for place, find in finds:
            for found in find(event, ()):
                if type(found) is str:
                    strings.append(found)
                elif not is_nothing(found) and not wrong:
                    wrong = f"The value at {place} is {kind(found)}, not a string."
            if first_only and any(strings):
                break
        return strings, wrong

    return gather


def joiner(shape: Shape) -> Join:
    """Return the function that joins the parts of a text, without quotes.

    A message that is nothing but a quote keeps the quote: somebody sent these words.
    """
    without_quotes = WITHOUT_QUOTES[shape.markup] if shape.quotes == "drop" else None
    if without_quotes is None:
        return _joined

    def join_own(parts: Sequence[str]) -> str:
        own = [without_quotes(part) for part in parts]
        own = [part for part in own if part]
        return _joined(own if any(part.strip() for part in own) else parts)

    return join_own


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "\n".join(parts)
